/** A span as sent: nothing in it is checked but its types. Times are seconds since 1970. */
export interface TraceSpan {
  entry: number;
  is_segment: boolean;
  span_id: string;
  parent: string;
  op: string;
  name: string;
  status: string;
  start: number | null;
  end: number | null;
}

/** An error or log of the trace. */
export interface TraceMark {
  entry: number;
  kind: string;
  level: string;
  title: string;
  span_id: string;
  at: number | null;
}

/** A row of the waterfall. */
export interface TraceNode {
  span: TraceSpan;
  depth: number;
  /** The place among the children of its parent, from 1, and how many those are. */
  position: number;
  siblings: number;
  childCount: number;
  /** What is wrong with the span, for the reader: nothing is corrected. */
  problems: string[];
  marks: TraceMark[];
}

export interface Axis {
  startS: number;
  endS: number;
}

export interface TraceModel {
  /** Each span once, every parent before its children. */
  nodes: TraceNode[];
  /** Null if no span has a time. */
  axis: Axis | null;
}

const NO_PARENT = -1;
// A span that is farther away has a wrong clock: it must not make all others invisible.
const AXIS_LIMIT_S = 24 * 3600;
// Clocks of one machine are never compared to less than this.
const SKEW_S = 0.001;

/** Make the tree of the spans. Takes linear time and no stack, whatever the parents are. */
export function buildTrace(spans: TraceSpan[], marks: TraceMark[] = []): TraceModel {
  const byId = new Map<string, number>();
  const nodes = spans.map((span, index): TraceNode => {
    const problems: string[] = [];
    if (span.span_id === '') problems.push('has no span id');
    else if (byId.has(span.span_id)) problems.push('has the id of another span');
    else byId.set(span.span_id, index);
    return { span, depth: 0, position: 1, siblings: 1, childCount: 0, problems, marks: [] };
  });
  const parents = linkParents(nodes, byId);
  noteTimes(nodes, parents);
  for (const mark of marks) {
    const owner = byId.get(mark.span_id);
    if (owner !== undefined) nodes[owner]?.marks.push(mark);
  }
  return { nodes: inOrder(nodes, parents), axis: findAxis(spans) };
}

/** The index of each span's parent. */
function linkParents(nodes: TraceNode[], byId: Map<string, number>): Int32Array {
  const parents = new Int32Array(nodes.length).fill(NO_PARENT);
  nodes.forEach(({ span, problems }, index) => {
    if (span.parent === '') return;
    const parent = byId.get(span.parent);
    if (parent === undefined)
      problems.push(`has a parent that is not in this trace: ${span.parent}`);
    else parents[index] = parent;
  });
  cutCycles(nodes, parents);
  return parents;
}

function cutCycles(nodes: TraceNode[], parents: Int32Array): void {
  // 0: not visited; otherwise the walk that has visited it.
  const visited = new Int32Array(nodes.length);
  for (let start = 0; start < nodes.length; start += 1) {
    let index = start;
    while (index !== NO_PARENT && visited[index] === 0) {
      visited[index] = start + 1;
      const parent = parents[index] ?? NO_PARENT;
      if (parent !== NO_PARENT && visited[parent] === start + 1) {
        parents[index] = NO_PARENT;
        nodes[index]?.problems.push('is in a cycle of parents');
      }
      index = parents[index] ?? NO_PARENT;
    }
  }
}

function noteTimes(nodes: TraceNode[], parents: Int32Array): void {
  nodes.forEach(({ span, problems }, index) => {
    const { start, end } = span;
    if (start === null) problems.push('has no start time');
    if (end === null) problems.push('has no end time');
    if (start === null) return;
    if (end !== null && end < start) problems.push('ends before it starts');
    const parent = nodes[parents[index] ?? NO_PARENT]?.span.start ?? null;
    if (parent !== null && start < parent - SKEW_S) problems.push('starts before its parent');
  });
}

/** Depth first, children by their start. */
function inOrder(nodes: TraceNode[], parents: Int32Array): TraceNode[] {
  const children = new Map<number, number[]>();
  const byStart = nodes.map((_, index) => index);
  const startOf = (index: number) => nodes[index]?.span.start ?? Infinity;
  byStart.sort((a, b) => (startOf(a) === startOf(b) ? a - b : startOf(a) - startOf(b)));
  for (const index of byStart) {
    const parent = parents[index] ?? NO_PARENT;
    const known = children.get(parent);
    if (known === undefined) children.set(parent, [index]);
    else known.push(index);
  }
  const ordered: TraceNode[] = [];
  const waiting: number[] = [];
  const wait = (parent: number, depth: number) => {
    const found = children.get(parent) ?? [];
    for (let place = found.length - 1; place >= 0; place -= 1) {
      const index = found[place] ?? 0;
      const node = nodes[index];
      if (node === undefined) continue;
      node.depth = depth;
      node.position = place + 1;
      node.siblings = found.length;
      node.childCount = children.get(index)?.length ?? 0;
      waiting.push(index);
    }
  };
  wait(NO_PARENT, 0);
  for (let index = waiting.pop(); index !== undefined; index = waiting.pop()) {
    const node = nodes[index];
    if (node === undefined) continue;
    ordered.push(node);
    wait(index, node.depth + 1);
  }
  return ordered;
}

function findAxis(spans: TraceSpan[]): Axis | null {
  const starts = Float64Array.from(spans.flatMap(({ start }) => start ?? [])).sort();
  const median = starts[starts.length >> 1];
  if (median === undefined) return null;
  const axis = { startS: median, endS: median };
  const include = (time: number | null) => {
    if (time === null || Math.abs(time - median) > AXIS_LIMIT_S) return;
    axis.startS = Math.min(axis.startS, time);
    axis.endS = Math.max(axis.endS, time);
  };
  for (const { start, end } of spans) {
    include(start);
    include(end);
  }
  return axis;
}

/** A time's place on the axis, 0 to 100; null outside. */
export function placeOn({ startS, endS }: Axis, timeS: number): number | null {
  const place = (timeS - startS) / Math.max(endS - startS, 1e-9);
  return place >= -1e-9 && place <= 1 + 1e-9 ? Math.min(Math.max(place, 0), 1) * 100 : null;
}

/** The nodes to draw: those below a folded one are hidden. */
export function unfoldedNodes(nodes: TraceNode[], folded: ReadonlySet<TraceNode>): TraceNode[] {
  if (folded.size === 0) return nodes;
  const shown: TraceNode[] = [];
  let hiddenBelow = Infinity;
  for (const node of nodes) {
    if (node.depth > hiddenBelow) continue;
    hiddenBelow = folded.has(node) ? node.depth : Infinity;
    shown.push(node);
  }
  return shown;
}
