import { useId, useState } from 'react';

import { formatCount } from '../app/format';
import { SafeText } from '../context/SafeText';
import { formatAge, formatNumber, seriesOf, type Span } from './model';
import { Partitions } from './Partitions';
import { Plot, SeverityStrip } from './Plot';
import { StateMark } from './StateMark';
import type { Facts, FleetRow, Sample } from './types';

interface Figure {
  name: string;
  label: string;
  format: (value: number) => string;
  isCounter?: boolean;
}

const FIGURES: Figure[] = [
  { name: 'lag', label: 'Lag', format: formatNumber },
  { name: 'rate', label: 'Rate', format: (value) => `${formatNumber(value)}/s` },
  { name: 'delivered', label: 'Delivered', format: formatNumber, isCounter: true },
  { name: 'filtered', label: 'Filtered', format: formatNumber, isCounter: true },
  { name: 'retried', label: 'Retried', format: formatNumber, isCounter: true },
  { name: 'dead_lettered', label: 'Dead-lettered', format: formatNumber, isCounter: true },
  { name: 'oldest_s', label: 'Oldest unsettled', format: formatAge },
  { name: 'time_to_loss_s', label: 'Time to loss', format: formatAge },
];

interface Props {
  row: FleetRow;
  samples: Sample[];
  span: Span;
  facts: Facts;
}

/** A consumer and a destination: state, causes, figures and, on click, the partitions. */
export function Row({ row, samples, span, facts }: Props) {
  const [isOpen, setOpen] = useState(false);
  const id = useId();
  const { consumer, destination, key, state, severity, causes } = row;
  const severities = seriesOf(samples, key, facts.series.indexOf('severity'), false);
  return (
    <li className="fleet-row" data-severity={severity}>
      <article aria-labelledby={id}>
        <header className="fleet-row-head">
          <h2 id={id}>
            <SafeText text={consumer.name} />
            {destination !== null && (
              <span className="dim">
                {' → '}
                <SafeText text={destination.name} />
              </span>
            )}
          </h2>
          <StateMark state={state} severity={severity} />
          <SeverityStrip points={severities} span={span} label="State over time" />
        </header>
        <p className="dim fleet-where">
          topic <SafeText text={consumer.topic} />, group <SafeText text={consumer.group} />
        </p>
        {causes.length > 0 && (
          <ul className="fleet-causes" aria-label="Causes">
            {causes.map((cause) => (
              <li key={cause}>
                <SafeText text={cause} />
              </li>
            ))}
          </ul>
        )}
        <dl className="fleet-figures">
          {FIGURES.map((figure) => (
            <FigureCell
              key={figure.name}
              figure={figure}
              {...{ rowKey: key, samples, span, facts }}
            />
          ))}
        </dl>
        <button
          type="button"
          className="button"
          aria-expanded={isOpen}
          onClick={() => {
            setOpen(!isOpen);
          }}
        >
          {formatCount(consumer.partitions.length, 'partition')}
        </button>
        {isOpen && <Partitions topic={consumer.topic} partitions={consumer.partitions} />}
      </article>
    </li>
  );
}

interface CellProps {
  figure: Figure;
  rowKey: string;
  samples: Sample[];
  span: Span;
  facts: Facts;
}

function FigureCell({ figure, rowKey, samples, span, facts }: CellProps) {
  const { name, label, format, isCounter = false } = figure;
  const index = facts.series.indexOf(name);
  const now = samples.at(-1)?.rows[rowKey]?.[index] ?? null;
  const points = seriesOf(samples, rowKey, index, isCounter);
  const most = Math.max(...points.flatMap(({ value }) => (value === null ? [] : [value])), 0);
  const what = isCounter ? `${label} in each ${facts.bucket_s} s` : label;
  return (
    <div className="fleet-figure" data-figure={name}>
      <dt>{label}</dt>
      <dd>
        <span className="fleet-value">{now === null ? '–' : format(now)}</span>
        <Plot points={points} span={span} label={`${what} over time, at most ${format(most)}`} />
      </dd>
    </div>
  );
}
