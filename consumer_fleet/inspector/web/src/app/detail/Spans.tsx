import { ShowMore, usePages } from '../../context/pages';
import { SafeText } from '../../context/SafeText';
import type { Span } from '../../model/event';
import { formatCount, formatDuration } from '../format';
import { Section } from './Section';

/** A transaction's spans on a common time axis. */
export function Spans({ spans }: { spans: Span[] }) {
  const pages = usePages(spans);
  const [first] = spans;
  if (first === undefined) return null;
  const { startS } = first;
  const endS = spans.reduce((end, span) => Math.max(end, span.startS + span.durationS), startS);
  const scale = 100 / Math.max(endS - startS, 1e-9);
  return (
    <Section title="Spans" note={formatCount(spans.length, 'span')}>
      <ol className="spans">
        {pages.shown.map((span, index) => (
          <li className="span" key={index}>
            <span className="span-op">
              <SafeText text={span.op ?? 'default'} />
            </span>
            <span className="span-description">
              <SafeText text={span.description ?? ''} />
            </span>
            <span className="span-duration">{formatDuration(span.durationS)}</span>
            <span className="span-track" aria-hidden="true">
              <span
                className="span-bar"
                style={{
                  left: `${(span.startS - startS) * scale}%`,
                  width: `${span.durationS * scale}%`,
                }}
              />
            </span>
          </li>
        ))}
      </ol>
      <ShowMore pages={pages} what="spans" className="wide-button" />
    </Section>
  );
}
