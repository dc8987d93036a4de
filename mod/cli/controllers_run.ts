/** `controllers run`: opens the datastore, waiting for it as long as it takes, and stays with the controllers. */
import { runControllers } from "../controllers/run.ts";
import { ConfigError } from "../node/config.ts";
import { logger, startLogging } from "../node/log.ts";
import { sleep, systemClock } from "../store/clock.ts";
import type { Store } from "../store/store.ts";
import { type Call, textOption } from "./command.ts";
import { type OpenStore, openStore } from "./context.ts";
import { openApiBeside } from "./kubernetes_beside.ts";
import { CliError, EXIT, failure, usageError } from "./io.ts";

const LEVELS = ["debug", "info", "warning", "error"] as const;
const FIRST_PAUSE = 250, LONGEST_PAUSE = 5000;

export async function run(call: Call): Promise<number> {
  const { io } = call;
  const text = textOption(call, "logLevel") ?? io.env("TORTIE_LOG_LEVEL") ?? "info";
  const level = LEVELS.find((one) => one === text.toLowerCase());
  if (!level) throw usageError(`the log level "${text}" is not one of ${LEVELS.join(", ")}`);
  const { signal } = io;
  await startLogging(level);
  const log = logger("controllers");
  const onTrouble = (error: string) =>
    log.warn("the datastore's access is not in order", { error });
  const opened = await patiently(() => openStore(call, { onTrouble }), signal);
  if (!opened) return EXIT.ok;
  let api: Store | undefined;
  try {
    api = await openApiBeside(call, opened.location, { lazily: true, onTrouble });
    if (api) {
      log.info("Nodes, Pods and policies are taken from the Kubernetes API beside the datastore");
    }
    await runControllers({
      store: opened.store,
      api,
      podsKnown: opened.location.kind === "kubernetes",
      log,
      env: (name) => io.env(name),
      signal,
    });
    return EXIT.ok;
  } catch (error) {
    if (error instanceof ConfigError) throw failure(error.message);
    throw error;
  } finally {
    await api?.close();
    await opened.close();
  }
}

/** The datastore, tried until it is there; undefined: told to end before. */
async function patiently(
  open: () => Promise<OpenStore>,
  signal: AbortSignal,
): Promise<OpenStore | undefined> {
  const log = logger("controllers");
  let told = "";
  for (let pause = FIRST_PAUSE; !signal.aborted; pause = Math.min(pause * 2, LONGEST_PAUSE)) {
    try {
      return await open();
    } catch (error) {
      if (!(error instanceof CliError && error.exit === EXIT.unreachable)) throw error;
      if (error.message !== told) log.warn("waiting for the datastore", { error });
      told = error.message;
      await sleep(systemClock, pause, signal);
    }
  }
}
