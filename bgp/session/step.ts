/** The machine: (state, event) to {next state, effects, reason}. One file a state. */
import { active } from "./active.ts";
import { connect } from "./connect.ts";
import { established } from "./established.ts";
import { idle } from "./idle.ts";
import { openConfirm } from "./open_confirm.ts";
import { openSent } from "./open_sent.ts";
import type { Session, SessionEvent, Step, StepContext } from "./session.ts";

export function step(session: Session, event: SessionEvent, context: StepContext): Step {
  switch (session.state) {
    case "Idle":
      return idle(session, event, context);
    case "Connect":
      return connect(session, event, context);
    case "Active":
      return active(session, event, context);
    case "OpenSent":
      return openSent(session, event, context);
    case "OpenConfirm":
      return openConfirm(session, event, context);
    case "Established":
      return established(session, event, context);
  }
}
