/** Actions of calicoctl's commands on resources: tortie's own, but for those that go on after a failure. */
export { run as get } from "../get.ts";
export { run as label } from "../label.ts";
export { run as patch } from "../patch.ts";
export { run as remove } from "../delete.ts";
export { apply, create, replace, validate } from "./write.ts";
