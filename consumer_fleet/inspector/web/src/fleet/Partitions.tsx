import { Fragment } from 'react';

import { SafeText } from '../context/SafeText';
import { formatAge, formatNumber } from './model';
import type { HeldBack, Partition } from './types';

interface Props {
  topic: string;
  partitions: Partition[];
}

export function Partitions({ topic, partitions }: Props) {
  const hasOwners = partitions.some(({ owner }) => owner !== null);
  return (
    <div className="partitions" role="region" aria-label={`Partitions of ${topic}`} tabIndex={0}>
      <table>
        <thead>
          <tr>
            <th scope="col">Partition</th>
            <th scope="col">Committed</th>
            <th scope="col">End</th>
            <th scope="col">Lag</th>
            <th scope="col">Oldest</th>
            {hasOwners && <th scope="col">Owner</th>}
          </tr>
        </thead>
        <tbody>
          {partitions.map((each) => (
            <Fragment key={each.index}>
              <tr data-held-back={each.held_back !== null}>
                <th scope="row">{each.index}</th>
                <td>{orDash(each.committed, String)}</td>
                <td>{orDash(each.end, String)}</td>
                <td>{orDash(each.lag, formatNumber)}</td>
                <td>{orDash(each.oldest_s, formatAge)}</td>
                {hasOwners && <td>{each.owner === null ? '–' : <SafeText text={each.owner} />}</td>}
              </tr>
              {each.held_back !== null && (
                <tr>
                  <td className="held-back" colSpan={hasOwners ? 6 : 5}>
                    Held back by <SafeText text={describe(topic, each, each.held_back)} />
                  </td>
                </tr>
              )}
            </Fragment>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function describe(topic: string, { index, held }: Partition, by: HeldBack): string {
  const message = `${topic} partition ${index} offset ${by.offset}`;
  const whose = by.destination === null ? '' : `${by.destination}: `;
  const since = by.since_s === null ? '' : `, for ${formatAge(by.since_s)}`;
  const others = held > 1 ? `; ${formatNumber(held - 1)} more held` : '';
  return `${message}: ${whose}${by.answer}${since}${others}`;
}

function orDash<T>(value: T | null, format: (value: T) => string): string {
  return value === null ? '–' : format(value);
}
