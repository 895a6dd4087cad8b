import type { ExceptionValue } from './event.ts';

/** How an exception relates to the one above it. */
export type Relation =
  | { kind: 'caused by' | 'during handling of' | 'member of group' | 'suppressed' }
  /** The event has only the order in which the exceptions were raised. */
  | { kind: 'raised after' }
  /** The event has a link, but its meaning is unknown; `source` is the SDK's name for it. */
  | { kind: 'linked'; source: string | null };

export interface ExceptionNode {
  exception: ExceptionValue;
  parent: ExceptionValue | null;
  /** Null for an exception that is below no other. */
  relation: Relation | null;
  depth: number;
  /** Why the exception is below no other although it is not the first one. */
  problem: string | null;
}

interface Link {
  parent: number | null;
  problem: string | null;
}

// In these languages, an exception in a chain is the cause of the next one. A Python exception may
// also have been raised while another one was handled, which is different.
const CAUSES_ONLY = new Set(['java', 'javascript', 'node', 'csharp', 'go', 'php', 'ruby']);
const CAUSE_SOURCES = new Set([
  'cause',
  '__cause__',
  'innerexception',
  'previous',
  'getprevious()',
]);
const MEMBER_SOURCE = /\[\d+\]$/;

/** The exceptions as a tree, in the order of the page: each is followed by those below it.
 *
 * Without ids in the mechanisms, the exceptions are a chain, as the protocol orders them: oldest
 * first. With ids, an exception without a valid parent starts a tree of its own.
 */
export function exceptionTree(
  exceptions: readonly ExceptionValue[],
  platform: string | null,
  sdkName: string | null,
): ExceptionNode[] {
  const newestFirst = exceptions.toReversed();
  const isLinked = newestFirst.some(({ mechanism }) => (mechanism?.parentId ?? null) !== null);
  const links = isLinked
    ? withoutCycles(readLinks(newestFirst, sdkName?.startsWith('sentry.python') === true))
    : newestFirst.map((_, index): Link => ({
        parent: index === 0 ? null : index - 1,
        problem: null,
      }));
  const children = newestFirst.map((): number[] => []);
  const roots: number[] = [];
  links.forEach(({ parent }, index) => (parent === null ? roots : children[parent])?.push(index));

  const nodes: ExceptionNode[] = [];
  const depths: number[] = [];
  // A stack, not recursion: a chain may be longer than the call stack.
  const waiting = roots.toReversed();
  for (let index = waiting.pop(); index !== undefined; index = waiting.pop()) {
    const exception = newestFirst[index];
    const link = links[index];
    if (exception === undefined || link === undefined) continue;
    const parent = link.parent === null ? null : (newestFirst[link.parent] ?? null);
    const depth = link.parent === null ? 0 : (depths[link.parent] ?? 0) + 1;
    depths[index] = depth;
    nodes.push({
      exception,
      parent,
      relation: parent === null ? null : relationOf(exception, parent, platform),
      depth,
      problem: index === 0 ? null : link.problem,
    });
    for (const child of children[index]?.toReversed() ?? []) waiting.push(child);
  }
  return nodes;
}

function readLinks(newestFirst: readonly ExceptionValue[], isPython: boolean): Link[] {
  const indexes = new Map<string, number[]>();
  newestFirst.forEach(({ mechanism }, index) => {
    const id = mechanism?.exceptionId ?? null;
    if (id !== null) indexes.set(id, [...(indexes.get(id) ?? []), index]);
  });
  return newestFirst.map(({ mechanism }): Link => {
    const parentId = mechanism?.parentId ?? null;
    if (mechanism === null || parentId === null) {
      return { parent: null, problem: 'The event does not say how it relates to the others.' };
    }
    const id = (isPython ? pythonParentId(mechanism) : null) ?? parentId;
    const found = indexes.get(id) ?? [];
    if (found.length === 1) return { parent: found[0] ?? null, problem: null };
    const problem =
      found.length === 0
        ? `Its parent, exception ${id}, is not in the event.`
        : `Its parent is unknown: ${found.length} exceptions have the id ${id}.`;
    return { parent: null, problem };
  });
}

/** sentry.python sends parent 0 for the cause or context of a group's member. It numbers them
 * directly after the exception to which they belong.
 */
function pythonParentId({
  exceptionId,
  parentId,
  source,
}: NonNullable<ExceptionValue['mechanism']>) {
  const isChained = source === '__cause__' || source === '__context__';
  const id = Number(exceptionId ?? NaN);
  return isChained && parentId === '0' && id > 1 ? String(id - 1) : null;
}

/** Cut every link between the members of a cycle; what is below a cycle stays below it. */
function withoutCycles(links: readonly Link[]): Link[] {
  const result = [...links];
  // The walk in which an exception was first reached.
  const walks: (number | undefined)[] = [];
  links.forEach((_, start) => {
    let index: number | null = start;
    while (index !== null && walks[index] === undefined) {
      walks[index] = start;
      index = links[index]?.parent ?? null;
    }
    if (index === null || walks[index] !== start) return;
    const first = index;
    do {
      result[index] = { parent: null, problem: 'Its parent ids form a cycle.' };
      index = links[index]?.parent ?? first;
    } while (index !== first);
  });
  return result;
}

function relationOf(
  { mechanism }: ExceptionValue,
  parent: ExceptionValue,
  platform: string | null,
): Relation {
  const source = mechanism?.source ?? null;
  const name = source?.toLowerCase() ?? null;
  if (mechanism?.type === 'suppressed' || name?.includes('suppressed')) {
    return { kind: 'suppressed' };
  }
  if (name === '__context__') return { kind: 'during handling of' };
  if (name !== null && CAUSE_SOURCES.has(name)) return { kind: 'caused by' };
  if (name !== null && MEMBER_SOURCE.test(name)) return { kind: 'member of group' };
  if (name !== null) return { kind: 'linked', source };
  if ((mechanism?.parentId ?? null) !== null && parent.mechanism?.isGroup === true) {
    return { kind: 'member of group' };
  }
  if (platform !== null && CAUSES_ONLY.has(platform)) return { kind: 'caused by' };
  return (mechanism?.parentId ?? null) === null
    ? { kind: 'raised after' }
    : { kind: 'linked', source };
}
