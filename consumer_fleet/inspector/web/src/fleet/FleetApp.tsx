import type { Connection } from '../api/stream';
import { formatCount, formatMoment } from '../app/format';
import { ThemeChoice } from '../app/TopBar';
import { SafeText } from '../context/SafeText';
import { formatAge, rowsOf, spanOf } from './model';
import { Row } from './Row';
import { StateMark } from './StateMark';
import type { FleetRow, Worker } from './types';
import { useFleet } from './useFleet';

const CONNECTION_TEXT: Record<Connection, string> = {
  connecting: 'Connecting',
  live: 'Live',
  disconnected: 'Disconnected',
};

export function FleetApp() {
  const { connection, facts, samples, view, staleS } = useFleet();
  const rows = view === null ? [] : rowsOf(view);
  const span = spanOf(samples, facts?.bucket_s ?? 1);
  const problem =
    view?.problem ?? (staleS === null ? null : `No news from the consumer for ${staleS} s.`);
  return (
    <div className="fleet-page">
      <header className="top-bar">
        <h1 className="brand">Fleet</h1>
        {facts?.has_events === true && (
          <a className="to-page" href="/">
            Events
          </a>
        )}
        <p className="counts">{view !== null && formatMoment(view.at_s).slice(0, 19)}</p>
        <p className="connection" role="status" data-state={connection}>
          <span className="connection-dot" aria-hidden="true" />
          {CONNECTION_TEXT[connection]}
        </p>
        <ThemeChoice />
      </header>
      <main className="fleet-main">
        {connection === 'disconnected' && (
          <p className="banner" role="alert">
            Lost connection to the server. The figures are out of date. Reconnecting …
          </p>
        )}
        {connection !== 'disconnected' && problem !== null && (
          <p className="banner" role="alert">
            <SafeText text={problem} />
          </p>
        )}
        {view === null || facts === null ? (
          <p className="dim">Waiting for the first figures …</p>
        ) : (
          <>
            <p className="fleet-summary" role="status">
              {summarise(rows)}{' '}
              <span className="dim">
                Plots: the last {formatAge((span.to - span.from) * facts.bucket_s)}.
              </span>
            </p>
            <ul className="fleet-rows" aria-label="Consumers and destinations">
              {rows.map((row) => (
                <Row key={row.key} {...{ row, samples, span, facts }} />
              ))}
            </ul>
            {view.workers.length > 0 && <Workers workers={view.workers} />}
          </>
        )}
      </main>
    </div>
  );
}

function summarise(rows: FleetRow[]): string {
  const bad = rows.filter(({ severity }) => severity === 2).length;
  const odd = rows.filter(({ severity }) => severity === 1).length;
  const parts = [
    ...(bad > 0 ? [`${bad} not delivering`] : []),
    ...(odd > 0 ? [`${odd} with a warning`] : []),
  ];
  const all = formatCount(rows.length, 'row');
  return parts.length === 0 ? `${all}, no trouble.` : `${all}: ${parts.join(', ')}.`;
}

function Workers({ workers }: { workers: Worker[] }) {
  return (
    <section aria-labelledby="workers">
      <h2 id="workers">Workers</h2>
      <ul className="workers" aria-labelledby="workers">
        {workers.map((each) => (
          <li key={each.number} className="worker" data-severity={each.severity}>
            <strong>Worker {each.number}</strong>
            <StateMark state={each.state} severity={each.severity} />
            <span className="dim">
              {each.pid !== null && `process ${each.pid}, `}
              {formatCount(each.messages, 'message')}
            </span>
            {each.cause !== null && (
              <p>
                <SafeText text={each.cause} />
              </p>
            )}
          </li>
        ))}
      </ul>
    </section>
  );
}
