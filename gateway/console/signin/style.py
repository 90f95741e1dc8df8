"""How do the pages look, and what may a browser do with them?

One style in the page itself, known to the browser by its hash; no frame, no image, no other host, and no script but
one of two, on the pages that name it (`script.py`).
"""

import base64
import hashlib

STYLE = """
:root { color-scheme: light dark; --line: #8884; --strong: #1f5fbf; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 44rem; padding: 2rem 1rem; }
header { display: flex; justify-content: space-between; border-bottom: 1px solid var(--line); margin-bottom: 2rem; }
header b { font-size: 1.1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
label { display: block; margin: 1rem 0 .2rem; }
input { font: inherit; width: 100%; max-width: 24rem; padding: .5rem; border: 1px solid #888; border-radius: 4px; }
button { font: inherit; padding: .45rem 1.1rem; margin: 1rem .5rem 0 0; border: 1px solid #888; border-radius: 4px; }
button.yes { background: var(--strong); border-color: var(--strong); color: white; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: .4rem .6rem .4rem 0; }
td, h1, header, p, li { overflow-wrap: anywhere; } td form button { overflow-wrap: normal; white-space: nowrap; }
:focus-visible { outline: 3px solid var(--strong); outline-offset: 2px; }
td { border-top: 1px solid var(--line); } td form button { margin: 0; }
code, .code { font: 1.05rem ui-monospace, monospace; overflow-wrap: anywhere; }
.code { font-size: 1.4rem; letter-spacing: .1em; }
.told { border-left: 4px solid var(--strong); padding: .2rem .8rem; }
.small { color: light-dark(#595959, #a8a8a8); font-size: .9rem; }
.small code { font-size: inherit; }
.told:empty { display: none; }
select { font: inherit; padding: .45rem; } svg.drawing { display: block; width: 18rem; height: 18rem; }
@media (max-width: 36rem) {
  table, tbody, tr, td { display: block; } tr:has(th) { display: none; }
  td { border: 0; padding: .1rem 0; } td:empty { display: none; }
  tr { border-top: 1px solid var(--line); padding: .5rem 0; }
  td[data-of]::before { content: attr(data-of) ": "; color: light-dark(#595959, #a8a8a8); }
}
"""


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def policy(form_action: str = "'self'", script: str = "") -> str:
    """The Content-Security-Policy; `form_action` is where forms may lead, redirects included, and `script` is the one
    that may run."""
    scripts = f"script-src 'sha256-{_hash(script)}'; " if script else ""
    return (
        f"default-src 'none'; style-src 'sha256-{_hash(STYLE)}'; {scripts}form-action {form_action}; "
        "frame-ancestors 'none'; base-uri 'none'"
    )


POLICY = policy()
