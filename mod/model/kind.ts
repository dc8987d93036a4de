/**
 * A kind as data: its names, whether it is namespaced, one schema (from which come the type, the
 * checks of a user's file, the defaults and the reading of stored objects) and the columns of its
 * table. `kinds.ts` lists all kinds; `validate.ts` applies the schema; nothing else about a kind is
 * spread over the program.
 */
import type * as v from "valibot";
import type { Resource } from "./resource.ts";

/** What is wrong in an object, and where. `path` is dotted with indexes: `spec.ingress[0].action`. */
export interface Issue {
  readonly path: string;
  /** Without the path: names the value and what is allowed. */
  readonly message: string;
}

/** One column of a table. `value` never fails, whatever is missing in the object. */
export interface Column<T = any> {
  readonly heading: string;
  value(object: T, context: ColumnContext): string;
}

/** What a column may need beyond its object. */
export interface ColumnContext {
  /** AS number of BGPConfiguration `default`, for nodes that have none of their own. */
  readonly asNumber: number;
}

/** Where objects of a kind are kept: Calico's own layout, or ours for Kubernetes' objects. */
export type Home = "calico" | "kubernetes";

export interface Kind<T extends Resource = Resource, Input = T> {
  readonly kind: T["kind"] & string;
  /** As written into objects: `projectcalico.org/v3`, `v1`, `networking.k8s.io/v1`. */
  readonly apiVersion: T["apiVersion"] & string;
  /** In keys: `ippools`. */
  readonly plural: string;
  readonly home: Home;
  readonly namespaced: boolean;
  /** What `tortie get <name>` takes, lower case; the first is the name in `-o name`. */
  readonly names: readonly string[];
  readonly schema: v.GenericSchema<Input, T>;
  readonly columns: readonly Column<T>[];
  readonly wideColumns?: readonly Column<T>[];
  /** The objects of a list as Calico's client and calicoctl show them. Changes them in place. */
  listed?(objects: T[]): T[];
  /** Defaults that hang on other fields, and canonical forms. Changes the object in place. */
  complete?(object: T): void;
  /** Names and labels that follow from the spec, of a user's object, before its checks. In place. */
  prepare?(object: T): void;
  /**
   * Faults that a user's v3 object has, but that an object of crd.projectcalico.org/v1 may have:
   * `complete` puts them right then, and they become warnings.
   */
  hostBits?(object: T): Issue[];
  /** What of a user's object will not be kept, though it is no fault: warnings. */
  remarks?(object: T): Issue[];
  /** Rules across fields, and names that are reserved. The object is complete. */
  check?(object: T): Issue[];
  /**
   * Rules that Calico's validator does not know and its client has for each write: of the object alone,
   * so that `validate` can tell of them too (those beside other objects: mod/store/resource_rules.ts).
   */
  checkWrite?(object: T): Issue[];
  /** Has a form of group crd.projectcalico.org/v1. */
  readonly crd?: boolean;
  /** Fields that we do not know are accepted in a user's file too (kinds of which we read a part). */
  readonly open?: boolean;
  /** Why users may not write it, as `ClusterInformation`. */
  readonly readOnly?: string;
  /** What writes anew a stored one that cannot be read, where users may not. */
  readonly mendedWith?: string;
  /** No resource name checks here: the kind's own `check` does it. */
  readonly ownNameCheck?: boolean;
}
