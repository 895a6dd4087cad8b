import { CopyButton } from './CopyButton.tsx';
import type { CoverageAnswer } from './coverage.ts';
import { SafeText } from './SafeText.tsx';

/** What is special about the lines' colours, or why they have none; and where the report is.
 *
 * The address is text: nothing that a server says is followed by a click.
 */
export function CoverageNote({ answer }: { answer: CoverageAnswer }) {
  const reason = answer.reason ?? '';
  const url = answer.coverageUrl ?? '';
  if (reason === '' && url === '') return null;
  return (
    <p className="fc-coverage-note">
      <span className="fc-coverage-note-label">Coverage</span>
      {reason !== '' && <SafeText text={reason} />}
      {url !== '' && (
        <span className="fc-coverage-address">
          <SafeText text={url} /> <CopyButton label="Copy the report's address" text={() => url} />
        </span>
      )}
    </p>
  );
}
