import { dashboard } from "../dashboard.ts";
import { alerts, facts } from "../state.ts";
import { clock, shortName } from "./words.ts";

/** Alerts that are shown; the rest are counted. */
const SHOWN = 4;

/** What the rules of config.toml call for, the latest first; those that no longer hold are paler. */
export function Alerts() {
  const rules = facts.value?.alerts ?? [];
  return (
    <section class="alerts" aria-label="Alerts">
      <ul aria-live="polite" aria-relevant="additions">
        {alerts.value.slice(0, SHOWN).map((alert) => (
          <li key={alert.id} data-holds={alert.holds}>
            <a href={`#/call/${alert.session}`}>
              <b>{alert.rule.rule}</b> {alert.role} of {shortName(alert.session)}, from {clock(alert.sinceS)}
              {!alert.holds && ` to ${clock(alert.untilS)}`}
            </a>
            <button type="button" onClick={() => dashboard.dismiss(alert.id)}>
              Dismiss<span class="unseen"> the alert of call {shortName(alert.session)}</span>
            </button>
          </li>
        ))}
      </ul>
      <p class="rules">
        {alerts.value.length > SHOWN && `${alerts.value.length - SHOWN} more. `}
        {rules.length === 0
          ? "No alerts: [alerts] rules in config.toml is empty."
          : `Alerts when: ${rules.map((rule) => rule.rule).join("; ")}.`}
      </p>
    </section>
  );
}
