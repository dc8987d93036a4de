/**
 * Commands whose arguments other rooms read themselves. A room adds a line here; `main.ts` hands over
 * everything behind the command's name, `--help` too.
 */
import type { RoomCommand } from "./command.ts";

export const ROOMS: readonly RoomCommand[] = [];
