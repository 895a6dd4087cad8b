import type { Point, Span } from './model';

const WIDTH = 240;
const HEIGHT = 24;

interface Props {
  points: Point[];
  span: Span;
  /** What is plotted, for a person who does not see it. */
  label: string;
}

/** A line over the span, with gaps where nothing is known. */
export function Plot({ points, span, label }: Props) {
  const values = points.flatMap(({ value }) => (value === null ? [] : [value]));
  const most = Math.max(...values, 0);
  const line = path(points, span, most);
  return (
    <svg
      className="plot"
      viewBox={`0 -1 ${WIDTH} ${HEIGHT + 2}`}
      preserveAspectRatio="none"
      role="img"
      aria-label={label}
    >
      <path className="plot-base" d={`M0 ${HEIGHT}H${WIDTH}`} />
      <path className="plot-line" d={line} />
    </svg>
  );
}

function path(points: Point[], span: Span, most: number): string {
  let command = 'M';
  return points
    .map(({ bucket, value }) => {
      if (value === null) {
        command = 'M';
        return '';
      }
      const y = most === 0 ? HEIGHT : HEIGHT - (value / most) * HEIGHT;
      const step = `${command}${position(bucket, span).toFixed(1)} ${y.toFixed(1)}`;
      // A single point is drawn, too.
      const drawn = command === 'M' ? `${step}h0.1` : step;
      command = 'L';
      return drawn;
    })
    .join('');
}

/** The severity of each bucket as a strip. */
export function SeverityStrip({ points, span, label }: Props) {
  const width = position(span.from + 1, span);
  return (
    <svg
      className="plot strip"
      viewBox={`0 0 ${WIDTH} 8`}
      preserveAspectRatio="none"
      role="img"
      aria-label={label}
    >
      {points.map(
        ({ bucket, value }) =>
          value !== null && (
            <rect
              key={bucket}
              x={Math.max(0, position(bucket, span) - width)}
              width={width}
              height="8"
              data-severity={value}
            />
          ),
      )}
    </svg>
  );
}

function position(bucket: number, { from, to }: Span): number {
  return to === from ? WIDTH : ((bucket - from) / (to - from)) * WIDTH;
}
