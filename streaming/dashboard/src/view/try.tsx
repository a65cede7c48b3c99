import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { Microphone } from "../microphone/microphone.ts";
import { rememberedToken } from "../wire/server.ts";
import { CallView } from "./call.tsx";

/** The microphone of this browser as a call. */
export function TryView() {
  const microphone = useRef<Microphone | null>(null);
  const speaking = useSignal(false);
  const session = useSignal<string | null>(null);
  const level = useSignal(0);
  const problem = useSignal<string | null>(null);
  const language = useSignal("");
  useEffect(() => () => microphone.current?.stop(), []);

  const start = (): void => {
    problem.value = session.value = null;
    speaking.value = true;
    microphone.current = new Microphone({
      language: language.value,
      token: rememberedToken(),
      onSession: (name) => (session.value = name),
      onLevel: (now) => (level.value = now),
      onEnd: (why) => {
        problem.value = why;
        speaking.value = false;
        level.value = 0;
      },
    });
    void microphone.current.start();
  };

  return (
    <>
      <section class="try" aria-label="Try it">
        <h1>Try your own voice</h1>
        <p>
          The microphone of this browser is sent to this server as any client would send it. It is not recorded; whoever may
          watch this server's calls sees this one too.
        </p>
        <div class="controls">
          {speaking.value ? (
            <button type="button" class="main" onClick={() => microphone.current?.stop()}>
              Stop
            </button>
          ) : (
            <button type="button" class="main" onClick={start}>
              Speak
            </button>
          )}
          <label>
            Language{" "}
            <select value={language.value} disabled={speaking.value} onChange={(event) => (language.value = event.currentTarget.value)}>
              <option value="">detect it</option>
              <option value="en">English</option>
              <option value="de">German</option>
              <option value="es">Spanish</option>
              <option value="fr">French</option>
            </select>
          </label>
          <meter min="0" max="1" value={level.value} aria-label="Loudness of the microphone" />
        </div>
        {problem.value !== null && (
          <p class="error" role="alert">
            {problem.value}
          </p>
        )}
      </section>
      {session.value !== null && <CallView key={session.value} session={session.value} />}
    </>
  );
}
