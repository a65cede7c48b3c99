import { CallView } from "./call.tsx";
import { Help } from "./help.tsx";
import { Login } from "./login.tsx";
import { fault, facts, feed, helpShown, login, opened, setTheme, theme, trying } from "../state.ts";
import { TryView } from "./try.tsx";
import { WallView } from "./wall.tsx";

/** The whole page. */
export function Page() {
  if (login.value !== null) {
    return (
      <main>
        <Login />
      </main>
    );
  }
  return (
    <>
      <Header />
      <main>{facts.value === null ? <Waiting /> : <View />}</main>
      <Help />
    </>
  );
}

function View() {
  if (opened.value !== null) return <CallView key={opened.value} session={opened.value} />;
  return trying.value ? <TryView /> : <WallView />;
}

function Waiting() {
  return (
    <p class="nothing" role="status">
      {fault.value ?? "Waiting for the server."}
    </p>
  );
}

const STATES = {
  connecting: "connecting",
  live: "connected",
  lost: "connection lost, trying again",
  refused: "refused",
  ended: "the server has stopped",
};

function Header() {
  const { state, why } = feed.value;
  const other = theme.value === "dark" ? "light" : "dark";
  const here = (is: boolean) => (is ? "page" : undefined);
  return (
    <header class="bar">
      <span class="brand">MEDUSA live</span>
      <nav aria-label="Views">
        <a href="#/" aria-current={here(opened.value === null && !trying.value)}>
          Calls
        </a>
        <a href="#/try" aria-current={here(trying.value)}>
          Try it
        </a>
      </nav>
      <span class="connection" role="status" data-state={state} title={why}>
        {STATES[state]}
      </span>
      <button type="button" onClick={() => setTheme(other)}>
        {other === "dark" ? "Dark" : "Light"}
      </button>
      <button type="button" onClick={() => (helpShown.value = true)}>
        Help
      </button>
    </header>
  );
}
