// A certified OpenID provider on loopback: its module, its port, its client and its people come as JSON on the command line.
const { module, port, client, people } = JSON.parse(process.argv[2]);
const { default: Provider } = await import(module);
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [client],
  conformIdTokenClaims: false,
  claims: { openid: ["sub"], profile: ["name", "preferred_username", "groups"], email: ["email", "email_verified"] },
  pkce: { required: () => true },
  features: { devInteractions: { enabled: true }, backchannelLogout: { enabled: true } },
  // It tells of signing out on loopback too, which it would not ask by itself.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...people[id] }) }),
});
provider.listen(port, "127.0.0.1", () => console.log("ready"));
