import { CopyButton } from '../../context/CopyButton';
import { StructuredValue } from '../../context/StructuredValue';
import { type JsonValue, printJson } from '../../json';

/** A JSON document as a tree, with its numbers as sent. */
export function JsonView({ value, label }: { value: JsonValue; label: string }) {
  return (
    <div className="json-view">
      <CopyButton label={`Copy ${label}`} text={() => printJson(value)} />
      <div className="json-tree">
        <StructuredValue value={value} platform="json" openDepth={1} />
      </div>
    </div>
  );
}
