"""What does a person type so that the clients of images use a repository?"""


def lines(base: str) -> list[str]:
    """Commands for the repository at `base`. Over plain HTTP each wants its own word of consent."""
    scheme, _, rest = base.partition("://")
    host, _, repository = rest.partition("/")
    image, image_by_digest = f"{rest}/NAME:TAG", f"{rest}/NAME@DIGEST"
    plain = scheme == "http"
    verify, insecure, clear = (" --tls-verify=false", " --insecure", " --plain-http") if plain else ("", "", "")
    cosign = " --allow-http-registry" if plain else ""
    local = host.partition(":")[0] in ("127.0.0.1", "localhost")
    daemon = [f'# /etc/docker/daemon.json: {{"insecure-registries": ["{host}"]}}'] if plain and not local else []
    piped = "echo $ENTREPOT_TOKEN |"
    return [
        *daemon,
        f"{piped} docker login {host} -u token --password-stdin",
        f"docker push {image}",
        f"docker pull {image}",
        f"{piped} podman login{verify} {host} -u token --password-stdin",
        f"podman push{verify} {image}",
        f"podman pull{verify} {image}",
        f"{piped} buildah login{verify} {host} -u token --password-stdin",
        f"buildah push{verify} IMAGE docker://{image}",
        f"{piped} skopeo login{verify} {host} -u token --password-stdin",
        f"skopeo copy{verify.replace('--', '--dest-')} oci:DIRECTORY:TAG docker://{image}",
        f"crane{insecure} auth login {host} -u token -p $ENTREPOT_TOKEN",
        f"crane{insecure} push IMAGE.tar {image}",
        f"crane{insecure} ls {host}/{repository}/NAME",
        f"{piped} oras login{clear} {host} -u token --password-stdin",
        f"oras push{clear} {image} FILE",
        f"{piped} cosign login {host} -u token --password-stdin",
        "# with a pair of keys and no word to a public transparency log",
        f"cosign sign --key cosign.key --tlog-upload=false --use-signing-config=false{cosign} {image_by_digest}",
        f"cosign verify --key cosign.pub --insecure-ignore-tlog=true{cosign} {image_by_digest}",
    ]
