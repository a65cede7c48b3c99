import { useState } from "preact/hooks";
import { dashboard } from "../dashboard.ts";
import { login } from "../state.ts";

/** Asks for a token, and keeps it for as long as the tab is open. */
export function Login() {
  const [token, setToken] = useState("");
  return (
    <form
      class="login"
      onSubmit={(event) => {
        event.preventDefault();
        void dashboard.logIn(token.trim());
      }}
    >
      <h1>MEDUSA live</h1>
      <label>
        Token
        <input
          type="password"
          autocomplete="current-password"
          autofocus
          required
          value={token}
          aria-describedby="login-help login-error"
          onInput={(event) => setToken(event.currentTarget.value)}
        />
      </label>
      <p id="login-help">
        This server asks for a token with the scope <code>events</code>. Its operator makes one with{" "}
        <code>medusa token new NAME --scopes events</code>.
      </p>
      <p id="login-error" class="error" role="alert">
        {login.value}
      </p>
      <button type="submit">Watch the calls</button>
    </form>
  );
}
