/**
 * Answers the controllers' questions about addresses of this node (`ipam/questions.ts`). With the first
 * answer, to no question, the node says that it can be asked; it says so again where that was taken away,
 * with a Node that was deleted or by an older copy of the datastore that was put back. While addresses are
 * asked for that are held, it looks again now and then. A datastore that cannot hold such records is left
 * without; where it forbids them to us, that is said, since an address is then taken back without this node
 * being asked.
 */
import {
  type Answer,
  answerKey,
  type AskedAddress,
  questionKey,
  readAnswer,
  readQuestion,
} from "../ipam/questions.ts";
import { follow } from "../store/follow.ts";
import { type Store, StoreError } from "../store/store.ts";
import { Later } from "./later.ts";
import type { Log } from "./log.ts";

export interface QuestionParts {
  readonly store: Store;
  readonly nodeName: string;
  /**
   * Those of the addresses that are held, and what could not be looked at; what it throws makes no
   * answer.
   */
  readonly held: (asked: readonly AskedAddress[]) => Promise<Pick<Answer, "held" | "unseen">>;
  readonly log: Log;
  /** Milliseconds between two looks at addresses that are held. */
  readonly again?: number;
}

const AGAIN = 10_000, RETRY = 5000, FORBIDDEN = 60_000;

export class AddressQuestions {
  readonly #parts: QuestionParts;
  readonly #abort = new AbortController();
  readonly #later: Later;
  #question: { readonly asked: string; readonly addresses: readonly AskedAddress[] } = {
    asked: "",
    addresses: [],
  };
  /** Why questions cannot be read, as it was logged last. */
  #unheard = "";
  /** Why answers are forbidden, as it was logged last. */
  #forbidden = "";
  /** What could not be looked at last. */
  #unseen: string | undefined;
  /** As it was written last. */
  #told = "";
  /** As it stands in the datastore, where that was heard. */
  #stands: string | undefined;
  /** It has to be written, whatever was written last. */
  #lost = false;
  #working = false;
  #again = false;
  #following: Promise<unknown> | undefined;

  constructor(parts: QuestionParts) {
    this.#parts = parts;
    this.#later = new Later(() => {
      if (this.#stands !== undefined && this.#stands !== this.#told) this.#lost = true;
      this.#answer();
    });
  }

  start(): void {
    this.#answer();
    this.#following = Promise.all([this.#followQuestion(), this.#followAnswer()]);
  }

  #followQuestion(): Promise<void> {
    const { store, nodeName, log } = this.#parts;
    const key = questionKey(nodeName);
    return follow(store, key, {
      put: ({ key: at, value, revision }) => {
        if (at !== key) return;
        this.#question = { asked: revision, addresses: readQuestion(value).addresses };
        this.#answer();
      },
      delete: (at) => {
        if (at === key) this.#question = { asked: "", addresses: [] };
      },
      synced: () => void (this.#unheard = ""),
      unavailable: (error) => {
        if (error.message === this.#unheard) return;
        this.#unheard = error.message;
        if (isUnknown(error)) log.debug("the datastore has no questions for us", { error });
        else log.warn("cannot hear the controllers' questions", { error });
      },
    }, { signal: this.#abort.signal })
      .catch((error) => log.error("following the controllers' questions failed", { error }));
  }

  /** Why it cannot be followed is said of the questions, which stand beside it. */
  #followAnswer(): Promise<void> {
    const { store, nodeName, again = AGAIN, log } = this.#parts;
    const key = answerKey(nodeName);
    const lost = (at: string) => {
      if (at !== key) return;
      this.#stands = undefined;
      this.#lost = true;
      this.#answer();
    };
    return follow(store, key, {
      put: ({ key: at, value }) => {
        if (at !== key) return;
        this.#stands = JSON.stringify(readAnswer(value));
        // Somebody else's, or of another time; not at once, since it may be our own of a moment ago.
        if (this.#stands !== this.#told) this.#later.in(again);
      },
      delete: lost,
      broken: lost,
    }, { signal: this.#abort.signal })
      .catch((error) => log.error("following this node's answers failed", { error }));
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    this.#later.cancel();
    await this.#following;
  }

  async #answer(): Promise<void> {
    if (this.#working) {
      this.#again = true;
      return;
    }
    this.#working = true;
    try {
      do {
        this.#again = false;
        await this.#look();
      } while (this.#again);
    } catch (error) {
      if (this.#abort.signal.aborted) return;
      const { log } = this.#parts;
      if (isUnknown(error)) log.debug("the datastore takes no answers", { error });
      else if (error instanceof StoreError && error.kind === "denied") {
        if (error.message !== this.#forbidden) {
          log.warn("this node may not answer the controllers, who release addresses without it", {
            error,
          });
        }
        this.#forbidden = error.message;
        this.#later.in(FORBIDDEN);
      } else {
        log.warn("cannot answer the controllers yet", { error });
        this.#later.in(RETRY);
      }
    } finally {
      this.#working = false;
    }
  }

  async #look(): Promise<void> {
    const { store, nodeName, held, again = AGAIN, log } = this.#parts;
    const { asked, addresses } = this.#question;
    const { unseen, ...found } = addresses.length > 0 ? await held(addresses) : { held: [] };
    const answer: Answer = { asked, ...found, ...(unseen !== undefined && { unseen }) };
    if (unseen !== undefined && unseen !== this.#unseen) {
      log.warn("cannot say of every address whether a container has it", { reason: unseen });
    }
    this.#unseen = unseen;
    if (this.#abort.signal.aborted) return;
    const text = JSON.stringify(answer);
    if (text !== this.#told || this.#lost) {
      this.#lost = false;
      this.#told = "";
      await store.put(answerKey(nodeName), answer);
      this.#told = text;
      this.#forbidden = "";
    }
    if (answer.held.length > 0) this.#later.in(again);
  }
}

/** The datastore has no place for such records. */
function isUnknown(error: unknown): boolean {
  return error instanceof StoreError && error.kind === "invalid";
}
