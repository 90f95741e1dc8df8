"""What do the scripts of the pages do? One asks the browser for a passkey, and sends what comes of it as the form. The
other one sends the form that leads on to an identity provider.

Each stands on its own pages alone, whose policy names it by its hash: no other script runs there, and none anywhere
else. What to ask for is JSON in the form's `data-asked`.
"""

SCRIPT = """
"use strict";
const form = document.querySelector("form[data-asked]");
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const said = document.getElementById("said");
  said.textContent = "";
  try {
    const asked = JSON.parse(form.dataset.asked);
    const shown = asked.user
      ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(asked) })
      : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(asked) });
    form.elements.credential.value = JSON.stringify(shown);
    form.submit();
  } catch (no) {
    said.textContent = no.name === "InvalidStateError" ? "You have a passkey of this account there already."
      : no.name === "NotAllowedError" ? "No passkey was shown. Try again."
      : "This browser cannot do this here: " + no.message;
  }
});
"""

ONWARD = "document.forms[0].submit();"
