"""How are Gradle, Ivy and sbt told to use one repository of ours, and nothing else? Folders and settings for them."""

from pathlib import Path

from formats.maven import setup
from tests.harness.clients import lacking, program, run
from tests.harness.running import clean_environment

REALM = "Entrepot"
IVY_JAR = Path("/usr/share/java/ivy.jar")
SBT_VERSION = "1.10.11"
# What starts a machine of Java's faster is worth more here than what runs it faster.
QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


def _written(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


# ---------------------------------------------------------------- Gradle

_GRADLE_CREDENTIALS = "credentials { username 'token'; password token }"


def gradle_repository(credential: bool = True) -> str:
    return "maven { url repo; " + (_GRADLE_CREDENTIALS if credential else "") + " }"


# Debian's Gradle lacks the transport of maven-publish; ivy-publish writes into the same layout.
GRADLE_PLUGIN = {
    "settings.gradle": "rootProject.name = 'tool'",
    "build.gradle": """
apply plugin: 'java'
apply plugin: 'ivy-publish'
group = 'org.acme'
version = '1.0'
dependencies { compileOnly gradleApi() }
task sourcesJar(type: Jar) { classifier = 'sources'; from sourceSets.main.allSource }
task docJar(type: Jar) { classifier = 'javadoc'; from 'settings.gradle' }
publishing {
  publications { tool(IvyPublication) {
    from components.java
    artifact(sourcesJar) { type = 'source'; extension = 'jar'; conf = 'runtime' }
    artifact(docJar) { type = 'javadoc'; extension = 'jar'; conf = 'runtime' }
  } }
  repositories { ivy { name 'acme'; url repo; layout 'maven'; credentials { username 'token'; password token } } }
}
""",
    "src/main/java/acme/Tool.java": """package acme;
import org.gradle.api.*;
public class Tool implements Plugin<Project> {
  public void apply(Project project) { project.getExtensions().getExtraProperties().set("tool", "applied"); }
}
""",
    "src/main/resources/META-INF/gradle-plugins/org.acme.tool.properties": "implementation-class=acme.Tool\n",
}


def gradle_user(wanted: list[str], plugin: str = "", credential: bool = True) -> dict[str, str]:
    """A build whose task `fetch` copies what is `wanted` into out/."""
    repository = gradle_repository(credential)
    named = ", ".join(f"'{one}'" for one in wanted)
    return {
        "settings.gradle": f"pluginManagement {{ repositories {{ {repository} }} }}\nrootProject.name = 'user'",
        "build.gradle": (f"plugins {{ id '{plugin}' version '1.0' }}\n" if plugin else "")
        + f"repositories {{ {repository} }}\nconfigurations {{ wanted }}\ndependencies {{ wanted {named} }}\n"
        + "task fetch(type: Copy) { from configurations.wanted; into 'out'\n"
        + ("  doLast { println 'the tool is ' + project.ext.tool } }\n" if plugin else "}\n"),
    }


def gradle(folder: Path, files: dict[str, str], task: str, url: str, token: str, ok: bool = True) -> str:
    """Run `task` of the build in `files`, with a Gradle home of its own. What Gradle says."""
    _written(folder, files)
    env = clean_environment() | {"GRADLE_USER_HOME": str(folder / "home"), "JAVA_OPTS": " ".join(QUICK)}
    command = [program("gradle"), "--no-daemon", "-q", task, f"-Prepo={url}", f"-Ptoken={token}"]
    return run(command, cwd=folder, env=env, ok=ok)


# ---------------------------------------------------------------- Ivy


def ivy_settings(url: str) -> str:
    """What `entrepot setup` tells Ivy's user to write, and resolvers to publish by: `flat` in Maven's layout, `own` in
    Ivy's."""
    told = setup.lines(url.removesuffix("/maven/"))
    told = told[next(at for at, line in enumerate(told) if line.startswith("# Ivy")) + 1 :]
    module = f"{url}[organisation]/[module]/[revision]/"
    return f"""<ivysettings>{"".join(told)}
<settings defaultResolver="entrepot"/><caches defaultCacheDir="${{user.dir}}/cache"/>
<resolvers>
<url name="flat" m2compatible="true"><ivy pattern="{module}ivy-[revision].xml"/>
<artifact pattern="{module}[artifact]-[revision](-[classifier]).[ext]"/></url>
<url name="own"><ivy pattern="{module}ivys/ivy.xml"/><artifact pattern="{module}[type]s/[artifact].[ext]"/></url>
</resolvers></ivysettings>"""


def ivy_module(name: str, revision: str) -> str:
    return f"""<ivy-module version="2.0"><info organisation="org.acme" module="{name}" revision="{revision}"/>
<configurations><conf name="default"/></configurations>
<publications><artifact name="{name}" type="jar" ext="jar" conf="default"/></publications></ivy-module>"""


def ivy(folder: Path, url: str, token: str, *arguments: str, ok: bool = True) -> str:
    if not IVY_JAR.exists():
        lacking("Ivy (Debian's package ivy) is not installed")
    _written(folder, {"settings.xml": ivy_settings(url)})
    command = [program("java"), *QUICK, "-jar", str(IVY_JAR), "-settings", "settings.xml", *arguments]
    return run(command, cwd=folder, env=clean_environment() | {"ENTREPOT_TOKEN": token}, ok=ok)


# ---------------------------------------------------------------- sbt

SBT_BUILD = """
ThisBuild / organization := "org.acme"
ThisBuild / version := "1.0"
val acme = "acme" at sys.env("ACME_URL") withAllowInsecureProtocol true
ThisBuild / credentials ++= sys.env.get("ACME_TOKEN").map(Credentials("REALM", "127.0.0.1", "token", _)).toSeq
ThisBuild / externalResolvers := Seq(acme)
ThisBuild / publishTo := Some(acme)
// Nothing is compiled: so Scala itself need not come from the repository.
ThisBuild / autoScalaLibrary := false
ThisBuild / managedScalaInstance := false
lazy val lib = project.settings(crossPaths := false)
lazy val cross = project
lazy val next = project.settings(crossPaths := false, version := "1.1-SNAPSHOT")
lazy val user = project.settings(
  crossPaths := false,
  libraryDependencies ++= Seq(WANTED),
  TaskKey[Unit]("fetch") := IO.copy(
    (Compile / dependencyClasspath).value.files.map(one => one -> file("out") / one.getName)
  )
)
"""


def sbt_build(*wanted: str) -> dict[str, str]:
    """A build that publishes lib, cross and next, and whose task user/fetch copies what is `wanted` into out/."""
    build = SBT_BUILD.replace("REALM", REALM).replace("WANTED", ", ".join(wanted))
    texts = {f"{name}/src/main/resources/{name}.txt": f"{name}\n" for name in ("lib", "cross", "next")}
    return {"project/build.properties": f"sbt.version={SBT_VERSION}\n", "build.sbt": build, **texts}


def sbt(folder: Path, files: dict[str, str], url: str, token: str, *commands: str, ok: bool = True) -> str:
    """Run commands of the build in `files`; what was resolved before is not remembered."""
    _written(folder, files)
    env = clean_environment() | {
        "ACME_URL": url,
        "JAVA_OPTS": " ".join(QUICK),
        **({"ACME_TOKEN": token} if token else {}),
    }
    options = [f"-Dsbt.ivy.home={folder / 'ivy'}", f"-Dsbt.coursier.home={folder / 'coursier'}"]
    quiet = ["-Dsbt.log.noformat=true", "-Dsbt.supershell=false", "-Dsbt.server.autostart=false"]
    return run([program("sbt"), *options, *quiet, *commands], cwd=folder, env=env, ok=ok)
