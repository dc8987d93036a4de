/**
 * What a check of IPAM's records can find. Each kind stands once in the table below, with what it means
 * for the cluster and what helps; a finding is a kind, the thing it is about, and what was seen there.
 */

export const FINDINGS = {
  // One block by itself.
  blockBroken:
    "none of its addresses is given or found; `ipam release --from-report` deletes the record when " +
    "nobody uses them any more",
  freeQueue: "IPAM mends the queue at the block's next change",
  attributeMissing: "the address stays taken by nobody known; release it if nobody has it",
  attributeBroken:
    "who has the address is not fully known; release it when its user is gone, or delete the user and " +
    "let it begin anew",
  attributeUnused: "harmless; it goes with the block's next release",
  sequence: "a release by number would refuse; release the address by handle",
  coolingTime: "it counts as long ago, and the address is free; correct the clock of its node",
  claimTime:
    "it counts as long ago, so that other nodes may take the block as soon as it is empty; correct the " +
    "clock of its node",
  blockOrphan:
    "nobody has it and nobody uses it; `tortie controllers run` deletes it after its grace period",

  // Blocks beside affinities, nodes and pools.
  ownerUnknown: "no node can use the block; its addresses can still be released",
  blockWithoutAffinity:
    "the node does not route the block; its next request for an address mends it",
  affinityWithoutBlock:
    "the node's next request for an address makes the block, or drops the record",
  affinityWrongOwner:
    "the node does not own the block; its next request for an address drops the record",
  affinityBroken:
    "the node does not know the block as its own; `ipam release --from-report` makes the record anew, " +
    "or the node's next request for an address",
  affinityPending:
    "a claim or release was cut off; the node's next request for an address ends it, or the controllers do",
  halfDeleted:
    "a deletion was cut off, and the record holds as before, with all that it says; delete nothing: IPAM " +
    "takes the mark off when the node next needs an address of it",
  blockOutsidePools: "its addresses are given to nobody new; it goes when they are released",
  blocksOverlap: "no more is given from either while both are there; release the addresses of one",
  nodeGone: "run the controllers, or release what is the node's if it will not come back",

  // Pools.
  poolBroken: "IPAM, ours or Calico's, passes over the pool; correct what is named",
  selectorBroken: "it selects nobody; correct it",
  usesBroken:
    "it gives nothing for a use of that name; name Workload, Tunnel or LoadBalancer, or leave the field out",
  reservationBroken: "what it should reserve is given to anybody, by Calico at least; correct it",
  poolsOverlap:
    "the longer prefix gives the addresses of both; disable one of them, its pods keep their addresses",

  // Handles beside blocks.
  handleBroken:
    "what it holds is looked for in all blocks; the next release by it mends it, or `ipam release " +
    "--from-report`",
  handleMarked: "harmless; the next assignment or release by the handle writes it anew",
  handleOther: "harmless; its key counts, and the next assignment or release by it writes it anew",
  handleLeaked: "harmless; `ipam release --from-report` deletes it",
  noHandle:
    "the end of its user does not free it; the controllers do where the record names its pod, else " +
    "`ipam release --ip` with --force when its user is gone",
  handleOvercount: "harmless; the next release by the handle corrects it",
  handleUndercount:
    "harmless; the next release by the handle frees all that it has there, and corrects it",
  handleUncounted:
    "a release by the handle may leave these behind; the controllers free them after their grace period, " +
    "or `ipam release --ip` when their user is gone",
  handleMissing:
    "a release by the handle may find nothing; the controllers free its addresses after their grace " +
    "period, or `ipam release --ip` when their user is gone",

  // Addresses beside those who use them.
  leak: "nobody uses it; `ipam release --from-report` releases it",
  unproven:
    "nothing releases it unasked; where its node cannot be asked, start the service there and check " +
    "again; where you know that nobody has it, `ipam release --ip` with --force",
  endpointBroken:
    "which addresses it has is not known, so its pod's are not released; delete the pod, or mend the record",
  addressTwice: "two blocks gave it; release the one that nobody uses",
  notAllocated: "it could be given to another; delete its user and let it begin anew",
  notInPool: "no pool gives it, so nothing keeps others from using it",
  usedTwice: "only one of them is reached; delete the other",
  wrongUser:
    "what ends the one may free it for a third while the other has it; release nothing, delete the user and " +
    "let it begin anew: it gets an address of its own, and the record is checked for itself then",
  wrongTunnel:
    "the end of the record's holder would free the tunnel's address for a third; release nothing: the node's " +
    "service takes another address for its tunnel, start it where it does not run",
  wrongService:
    "the end of the record's holder would free the service's address for a third; release nothing: delete the " +
    "Service and make it anew, so that it gets an address of its own",

  // One record of an address by itself.
  recordContradicts:
    "it is freed by the one and looked for by the other; delete its user, and release it with `ipam release " +
    "--ip` when nobody has it",
  nodeUnsaid:
    "it counts as of the node that owns its block, and what that node says of it may be wrong; delete its " +
    "user and let it begin anew",
  leaseTwice:
    "the ordinal's next pod takes one of them and frees the others; sooner, `ipam release --ip` frees one that " +
    "nobody uses",
  leaseIdle:
    "it stays its ordinal's: the ordinal's next pod takes it, and `tortie controllers run` begins the time for " +
    "which it is kept",

  nodeAddress:
    "what is meant for the machine goes to the pod; delete the pod, and keep the address out of the pool " +
    "with an IPReservation",

  objectBroken:
    "which addresses it has is not known, so its own are not released; write it anew, or delete it",
  userBroken:
    "which addresses it uses cannot be told, so nothing is released from a report; write the object " +
    "anew, or delete it",

  configBroken:
    "no address is given; write it anew with `ipam configure --strictaffinity=false`, and what else it " +
    "shall say",
  configContradicts: "IPAM follows it word for word; write the configuration anew",
  misnamed:
    "it counts for nothing here, and Calico's agents may go by it; where the right object is there too, delete " +
    "this one with kubectl, else write it anew under the right name first",
  strangeRecord: "nobody reads it; delete the record if you do not know it",
} as const;

/** What is no fault: a pool is being replaced by one of another block size, other IPAMs are in use. */
const PASSING = {
  blockSize: "it gives nothing new, and goes when its addresses are released",
  poolReplaced: "delete it when you do not mean to go back",
  borrowed:
    "they were given before strict affinity was; they stay their users', and go when these end",
  blocksOverLimit: "it has them from before the limit, and gets no more while it has them",
  outsidePools:
    "host-local has given them, or annotations named them; this IPAM has nothing to do with them",
} as const;

export type FindingKind = keyof typeof FINDINGS;
export type PassingKind = keyof typeof PASSING;

export interface Finding<K extends string = FindingKind> {
  readonly kind: K;
  /** What it is about: an address, a block's CIDR, a handle, a node, a pool, or a key. */
  readonly subject: string;
  /** What was seen, as a sentence that begins with the subject. */
  readonly message: string;
  /** Of a record that cannot be read. */
  readonly key?: string;
}

export type Passing = Finding<PassingKind>;

/** The finding as a line for people: what, and what helps. */
export function explain({ kind, message }: Finding | Passing): string {
  return `${message}: ${{ ...FINDINGS, ...PASSING }[kind]}`;
}

/** The same fault, seen again. */
export function findingId({ kind, subject }: Pick<Finding, "kind" | "subject">): string {
  return `${kind} ${subject}`;
}
