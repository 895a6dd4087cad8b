import type { Consumer, FleetRow, FleetView, Sample } from './types';

const HOUR_S = 3_600;
const SHORTEST_S = 300;

/** One row for each consumer and destination; the worse of both states is the row's. */
export function rowsOf(view: FleetView): FleetRow[] {
  return view.consumers.flatMap((consumer) => {
    if (consumer.destinations.length === 0) return [rowOf(consumer, null)];
    return consumer.destinations.map((destination) => rowOf(consumer, destination));
  });
}

function rowOf(consumer: Consumer, destination: FleetRow['destination']): FleetRow {
  const key = [consumer.group, consumer.topic, destination?.name ?? ''].join('/');
  const isWorse = destination !== null && destination.severity > consumer.severity;
  const { state, severity } = isWorse ? destination : consumer;
  const cause = destination?.cause ?? null;
  const own =
    destination === null || cause === null
      ? []
      : [`${destination.name} is ${destination.state}: ${cause}`];
  const causes = [...own, ...consumer.causes];
  return { key, consumer, destination, state, severity, causes };
}

/** Add a sample: one of the same bucket is replaced, one older than an hour is dropped. */
export function addSample(samples: Sample[], next: Sample, bucketS: number): Sample[] {
  const oldest = next.bucket - HOUR_S / bucketS;
  const kept = samples.filter(({ bucket }) => bucket > oldest && bucket < next.bucket);
  return [...kept, next];
}

export interface Span {
  from: number;
  to: number;
}

/** The buckets that the plots show: all that there are, 5 minutes at least. */
export function spanOf(samples: Sample[], bucketS: number): Span {
  const to = samples.at(-1)?.bucket ?? 0;
  const from = Math.min(samples[0]?.bucket ?? to, to - SHORTEST_S / bucketS);
  return { from, to };
}

export interface Point {
  bucket: number;
  value: number | null;
}

/** One figure of one row. Of a counter: how much it grew in each bucket. */
export function seriesOf(
  samples: Sample[],
  key: string,
  index: number,
  isCounter: boolean,
): Point[] {
  const points = samples.map(({ bucket, rows }) => ({ bucket, value: rows[key]?.[index] ?? null }));
  if (!isCounter) return points;
  return points.slice(1).map(({ bucket, value }, before) => {
    const last = points[before]?.value ?? null;
    return { bucket, value: value === null || last === null ? null : Math.max(0, value - last) };
  });
}

/** `12,345`, and `1.2M` from a million on. */
export function formatNumber(value: number): string {
  if (value >= 1e6) {
    return value.toLocaleString('en', { notation: 'compact', maximumFractionDigits: 1 });
  }
  return value.toLocaleString('en', { maximumFractionDigits: value < 10 ? 1 : 0 });
}

const UNITS: [seconds: number, name: string][] = [
  [86_400, 'd'],
  [3_600, 'h'],
  [60, 'min'],
];

/** `59 s`, `1.5 h`, `12 d`; rounded down. */
export function formatAge(seconds: number): string {
  const [size, name] = UNITS.find(([least]) => seconds >= least) ?? [1, 's'];
  const count = seconds / size;
  const shown = name === 's' || count >= 10 ? Math.floor(count) : Math.floor(count * 10) / 10;
  return `${shown.toLocaleString('en')} ${name}`;
}
