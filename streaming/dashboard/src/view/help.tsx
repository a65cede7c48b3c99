import { useEffect, useRef } from "preact/hooks";
import { helpShown, setShortcuts, shortcuts } from "../state.ts";

const KEYS = [
  ["/", "search"],
  ["p", "pause, and go on"],
  ["t", "light or dark"],
  ["arrows", "from card to card"],
  ["Enter", "open a call"],
  ["Escape", "back to all calls"],
  ["?", "this help"],
];

/** What keys do, and how calls are sorted. */
export function Help() {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (helpShown.value) dialog.current?.showModal();
    else dialog.current?.close();
  }, [helpShown.value]);
  return (
    <dialog ref={dialog} aria-labelledby="help-title" onClose={() => (helpShown.value = false)}>
      <h2 id="help-title">Help</h2>
      <table>
        <tbody>
          {KEYS.map(([key, does]) => (
            <tr key={key}>
              <th scope="row">
                <kbd>{key}</kbd>
              </th>
              <td>{does}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <p>
        <label>
          <input type="checkbox" checked={shortcuts.value} onChange={(event) => setShortcuts(event.currentTarget.checked)} /> keys
          of a single character
        </label>
      </p>
      <p>
        Calls are sorted by worry: how likely anger, contempt, disgust, fear and sadness are now, plus how much that rose, plus how
        much valence fell. It is a way to sort, not a measurement.
      </p>
      <form method="dialog">
        <button type="submit">Close</button>
      </form>
    </dialog>
  );
}
