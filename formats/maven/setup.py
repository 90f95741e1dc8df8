"""What does a person write into which file, so that mvn, Gradle, sbt and Ivy use a repository?"""

from formats.kit.refusals import REALM


def lines(base: str) -> list[str]:
    """Settings for the repository at `base`. Gradle and sbt want a word of consent over plain HTTP."""
    url, host = f"{base}/maven/", base.partition("://")[2].partition("/")[0].partition(":")[0]
    plain = base.startswith("http://")
    consent, allowed = ("; allowInsecureProtocol = true", ".withAllowInsecureProtocol(true)") if plain else ("", "")
    return [
        "# mvn: ~/.m2/settings.xml, within <settings>",
        "<servers><server><id>entrepot</id><username>token</username><password>${env.ENTREPOT_TOKEN}</password>"
        "</server></servers>",
        f"<mirrors><mirror><id>entrepot</id><mirrorOf>*</mirrorOf><url>{url}</url></mirror></mirrors>",
        f"mvn deploy -DaltDeploymentRepository=entrepot::default::{url}",
        "# Gradle: build.gradle, within repositories { } and within publishing { repositories { } }",
        f"maven {{ url = '{url}'{consent}; credentials {{ username = 'token'; "
        "password = System.getenv('ENTREPOT_TOKEN') } }",
        "# sbt: build.sbt",
        f'resolvers += ("entrepot" at "{url}"){allowed}',
        f'publishTo := Some(("entrepot" at "{url}"){allowed})',
        f'credentials += Credentials("{REALM}", "{host}", "token", sys.env("ENTREPOT_TOKEN"))',
        "# Ivy: ivysettings.xml, within <ivysettings>",
        '<properties environment="env"/>',
        f'<credentials host="{host}" realm="{REALM}" username="token" passwd="${{env.ENTREPOT_TOKEN}}"/>',
        f'<resolvers><ibiblio name="entrepot" m2compatible="true" root="{url}"/></resolvers>',
    ]
