/**
 * Answers the controllers' questions about addresses of this node (`ipam/questions.ts`). With the first
 * answer, to no question, the node says that it can be asked; it says so again where that is taken away,
 * as with a Node that was deleted and came back. While addresses are asked for that are
 * held, it looks again now and then. A datastore that cannot hold such records is left without; where it
 * forbids them to us, that is said, since an address is then taken back without this node being asked.
 */
import {
  type Answer,
  answerKey,
  type AskedAddress,
  questionKey,
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
  /** Milliseconds after which it is looked whether the answer still stands. */
  readonly confirm?: number;
}

const CONFIRM = 600_000, AGAIN = 10_000, RETRY = 5000, FORBIDDEN = 60_000;

export class AddressQuestions {
  readonly #parts: QuestionParts;
  readonly #abort = new AbortController();
  readonly #later: Later;
  readonly #confirmation: Later;
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
  #unconfirmed = false;
  #working = false;
  #again = false;
  #following: Promise<void> | undefined;

  constructor(parts: QuestionParts) {
    this.#parts = parts;
    this.#later = new Later(() => this.#answer());
    this.#confirmation = new Later(() => {
      this.#unconfirmed = true;
      this.#answer();
    });
  }

  start(): void {
    const { store, nodeName, log } = this.#parts;
    this.#answer();
    const key = questionKey(nodeName);
    this.#following = follow(store, key, {
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

  async stop(): Promise<void> {
    this.#abort.abort();
    this.#later.cancel();
    this.#confirmation.cancel();
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
    const { store, nodeName, held, again = AGAIN, confirm = CONFIRM, log } = this.#parts;
    const { asked, addresses } = this.#question;
    const { unseen, ...found } = addresses.length > 0 ? await held(addresses) : { held: [] };
    const answer: Answer = { asked, ...found, ...(unseen !== undefined && { unseen }) };
    if (unseen !== undefined && unseen !== this.#unseen) {
      log.warn("cannot say of every address whether a container has it", { reason: unseen });
    }
    this.#unseen = unseen;
    if (this.#abort.signal.aborted) return;
    if (this.#unconfirmed && !await store.get(answerKey(nodeName))) this.#told = "";
    this.#unconfirmed = false;
    const text = JSON.stringify(answer);
    if (text !== this.#told) {
      await store.put(answerKey(nodeName), answer);
      this.#told = text;
      this.#forbidden = "";
    }
    if (answer.held.length > 0) this.#later.in(again);
    this.#confirmation.in(confirm);
  }
}

/** The datastore has no place for such records. */
function isUnknown(error: unknown): boolean {
  return error instanceof StoreError && error.kind === "invalid";
}
