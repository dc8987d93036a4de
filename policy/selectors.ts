/**
 * Puts the selectors of a policy together (Calico's update processors): namespaceSelector and
 * serviceAccountSelector speak of labels that endpoints inherit, under `pcns.` and `pcsa.`; the
 * scope of a namespaced policy is a label too. The result is one selector over an endpoint's labels.
 *
 * The shape of the tree follows Calico's texts to the parenthesis, because the canonical print is
 * hashed into the names of sets.
 */
import {
  compareCodePoints,
  isSelectorValue,
  parseSelector,
  Selector,
  type SelectorNode,
} from "../mod/selector/selector.ts";

export const NAMESPACE_LABEL = "projectcalico.org/namespace";
export const ORCHESTRATOR_LABEL = "projectcalico.org/orchestrator";
export const SERVICE_ACCOUNT_LABEL = "projectcalico.org/serviceaccount";
/** Label of a profile's namespace or account, behind `pcns.` or `pcsa.`. */
export const NAME_LABEL = "projectcalico.org/name";
export const NAMESPACE_PREFIX = "pcns.";
export const SERVICE_ACCOUNT_PREFIX = "pcsa.";

const hasNamespace: SelectorNode = { is: "has", label: NAMESPACE_LABEL };
const hasServiceAccount: SelectorNode = { is: "has", label: SERVICE_ACCOUNT_LABEL };

/** `projectcalico.org/namespace == "ns"`. */
export function inNamespace(namespace: string): SelectorNode {
  return { is: "==", label: NAMESPACE_LABEL, value: namespace };
}

/** A namespaceSelector: `all()` is every namespace, `global()` what is in none. */
export function namespaceNode(selector: SelectorNode): SelectorNode {
  return new Selector(selector).map(
    (label) => NAMESPACE_PREFIX + label,
    (leaf) => leaf.is === "all" ? hasNamespace : { is: "!", node: hasNamespace },
  ).node;
}

/** A serviceAccountSelector: `all()` is every account. */
export function serviceAccountNode(selector: SelectorNode): SelectorNode {
  return new Selector(selector).map(
    (label) => SERVICE_ACCOUNT_PREFIX + label,
    (leaf) => leaf.is === "all" ? hasServiceAccount : leaf,
  ).node;
}

/** Both; one alone where the other is absent. */
export function both(
  first: SelectorNode | undefined,
  second: SelectorNode | undefined,
): SelectorNode | undefined {
  return first && second ? { is: "&&", nodes: [first, second] } : first ?? second;
}

/** What a rule says of the endpoints on one side. */
export interface EntitySelectors {
  readonly selector?: SelectorNode;
  readonly namespaceSelector?: SelectorNode;
  readonly serviceAccounts?: {
    readonly names?: readonly string[];
    readonly selector?: SelectorNode;
  };
  /** Whether the rule also has a notSelector (its scope is the namespace then, too). */
  readonly hasNotSelector?: boolean;
}

/**
 * The selector of one side of a rule; undefined where it does not look at endpoints at all. In a
 * namespaced policy without namespaceSelector it is limited to the policy's namespace.
 */
export function entitySelector(entity: EntitySelectors, namespace: string): Selector | undefined {
  const scope = entity.namespaceSelector
    ? namespaceNode(entity.namespaceSelector)
    : namespace !== ""
    ? inNamespace(namespace)
    : undefined;
  const accounts = entity.serviceAccounts && accountsNode(entity.serviceAccounts);
  const own = both(accounts, entity.selector);
  const looks = own !== undefined || entity.hasNotSelector ||
    entity.namespaceSelector !== undefined;
  const node = scope && looks ? both(scope, own) : own;
  return node && new Selector(node);
}

function accountsNode(
  { names, selector }: NonNullable<EntitySelectors["serviceAccounts"]>,
): SelectorNode | undefined {
  const bySelector = selector && serviceAccountNode(selector);
  const wrong = names?.find((name) => !isSelectorValue(name));
  if (wrong !== undefined) throw new Error(`${JSON.stringify(wrong)} is not an account's name`);
  const byName: SelectorNode | undefined = names && names.length > 0
    ? {
      is: "in",
      label: SERVICE_ACCOUNT_LABEL,
      values: [...new Set(names)].sort(compareCodePoints),
    }
    : undefined;
  return both(bySelector, byName);
}

/** The tree of a selector's text; undefined for an absent or empty one. Throws for what is none. */
export function nodeOf(text: string | null | undefined): SelectorNode | undefined {
  if (!text) return undefined;
  if (typeof text !== "string") throw new Error(`${JSON.stringify(text)} is no selector`);
  return parseSelector(text).node;
}
