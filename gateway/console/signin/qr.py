"""How does an authenticator app get its key without anybody typing it? From a code that a camera reads (QR, ISO 18004).

It is drawn in the page itself, as the answer to a form: the key is in no address, and nothing else is asked for it.
"""

import segno

MARGIN_MODULES = 4
"""As the standard wants it."""


def drawing(text: str) -> str:
    """An `<svg>` that says this text, on white whatever the page's colours are. Without a style or a script."""
    code = segno.make_qr(text, error="m")
    return code.svg_inline(border=MARGIN_MODULES, light="white", omitsize=True, svgclass="drawing", lineclass=None)
