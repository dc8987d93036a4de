/** Something to be looked at again after a while: one timer, however often it is asked for. */
export class Later {
  #timer: number | undefined;

  constructor(readonly run: () => void) {}

  in(milliseconds: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.run();
    }, milliseconds + 50);
  }

  cancel(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
