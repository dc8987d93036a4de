/**
 * A relay between a client and a server, byte for byte, whose connections a test breaks: all of them at
 * once, or one in place of the next bytes that the server sends, so that what was asked for has been
 * done and the asker does not know. Or they die without a word, as where a firewall has forgotten them.
 * It can go away, and come back at the same place.
 */
export type Place =
  | { readonly transport: "unix"; readonly path: string }
  | { readonly transport: "tcp"; readonly hostname: string; readonly port: number };

export class Relay {
  readonly #at: Place;
  #listener: Deno.Listener;
  readonly #open = new Set<() => void>();
  #loseAnswer = false;
  /** Connections of a lower number pass nothing any more, and nobody is told. */
  #alive = 0;
  #count = 0;

  /** Listens at `at` (port 0: any) and passes on to `to`. */
  constructor(at: Place, readonly to: Place) {
    this.#listener = listen(at);
    this.#at = at.transport === "tcp" ? { ...at, port: this.port } : at;
    this.#accept();
  }

  get port(): number {
    return (this.#listener.addr as Deno.NetAddr).port;
  }

  breakConnection(when: "now" | "answer"): void {
    if (when === "answer") this.#loseAnswer = true;
    else for (const cut of [...this.#open]) cut();
  }

  /** What is connected now is dead; what connects from now on is not. Gives back how many are dead. */
  forget(): number {
    this.#alive = this.#count;
    return this.#open.size;
  }

  /** Nobody is there any more, until `comeBack`. */
  async goAway(): Promise<void> {
    this.close();
    if (this.#at.transport === "unix") await Deno.remove(this.#at.path).catch(() => {});
  }

  comeBack(): void {
    this.#listener = listen(this.#at);
    this.#accept();
  }

  close(): void {
    this.#listener.close();
    for (const cut of [...this.#open]) cut();
  }

  async #accept(): Promise<void> {
    try {
      for await (const client of this.#listener) this.#relay(client);
    } catch {
      // It was closed.
    }
  }

  async #relay(client: Deno.Conn): Promise<void> {
    let server: Deno.Conn;
    try {
      server = await Deno.connect(this.to as Deno.ConnectOptions);
    } catch {
      client.close();
      return;
    }
    const cut = () => {
      if (!this.#open.delete(cut)) return;
      client.close();
      server.close();
    };
    this.#open.add(cut);
    const number = this.#count++;
    const dead = () => number < this.#alive;
    this.#pass(client, server, dead, () => false).then(cut);
    this.#pass(server, client, dead, () => {
      const lose = this.#loseAnswer;
      this.#loseAnswer = false;
      return lose;
    }).then(cut);
  }

  /** Until one side ends, or the bytes are to be lost. */
  async #pass(
    from: Deno.Conn,
    to: Deno.Conn,
    dead: () => boolean,
    lose: () => boolean,
  ): Promise<void> {
    const buffer = new Uint8Array(65_536);
    try {
      for (;;) {
        const count = await from.read(buffer);
        if (count === null || lose()) return;
        if (dead()) continue;
        for (let at = 0; at < count;) at += await to.write(buffer.subarray(at, count));
      }
    } catch {
      // One of the two is closed.
    }
  }
}

function listen(at: Place): Deno.Listener {
  return Deno.listen(at as Deno.TcpListenOptions & { transport: "tcp" });
}
