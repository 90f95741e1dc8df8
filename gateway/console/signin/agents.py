"""In which program did somebody sign in? As one of a few names, never the program's own words."""

_BROWSERS = (("edg/", "Edge"), ("opr/", "Opera"), ("firefox/", "Firefox"), ("chrome/", "Chrome"), ("safari/", "Safari"))
_SYSTEMS = (
    ("android", "Android"),
    ("iphone", "iOS"),
    ("ipad", "iOS"),
    ("windows", "Windows"),
    ("mac os", "macOS"),
    ("linux", "Linux"),
)


def family(user_agent: str) -> str:
    """Such as "Firefox on Linux"; "" where it does not say."""
    said = user_agent[:400].lower()
    browser = next((name for mark, name in _BROWSERS if mark in said), "a browser" if said else "")
    system = next((name for mark, name in _SYSTEMS if mark in said), "")
    return f"{browser} on {system}" if browser and system else browser
