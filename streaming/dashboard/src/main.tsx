import { effect } from "@preact/signals";
import { render } from "preact";
import { dashboard } from "./dashboard.ts";
import { alerts, helpShown, paused, route, setTheme, shortcuts, theme } from "./state.ts";
import { Page } from "./view/page.tsx";
import "./style.css";

addEventListener("hashchange", () => (route.value = location.hash));

addEventListener("keydown", (event) => {
  const typing = event.target instanceof Element && event.target.matches("input, select, textarea");
  if (event.ctrlKey || event.metaKey || event.altKey || helpShown.value) return;
  if (event.key === "Escape") {
    if (typing) (event.target as HTMLElement).blur();
    else location.hash = "#/";
    return;
  }
  if (typing || !shortcuts.value) return;
  if (event.key === "/") {
    event.preventDefault();
    document.getElementById("search")?.focus();
  } else if (event.key === "p") {
    dashboard.pause(!paused.value);
  } else if (event.key === "t") {
    setTheme(theme.value === "dark" ? "light" : "dark");
  } else if (event.key === "?") {
    helpShown.value = true;
  }
});

effect(() => {
  const holding = alerts.value.filter((alert) => alert.holds).length;
  document.title = holding > 0 ? `(${holding}) MEDUSA live` : "MEDUSA live";
});

const root = document.getElementById("page");
if (root !== null) render(<Page />, root);
dashboard.run();
void dashboard.start();
