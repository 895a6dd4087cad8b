import { parseAssembly } from './assemblyName.ts';
import { CopyButton } from './CopyButton.tsx';
import { SafeText } from './SafeText.tsx';

interface Props {
  displayName: string | null;
  filePath: string | null;
}

export function Assembly({ displayName, filePath }: Props) {
  const { name, version, culture, publicKeyToken } = parseAssembly(displayName);
  const parts: [caption: string, value: string | null][] = [
    ['Assembly', name],
    ['Version', version],
    ['Culture', culture],
    ['PublicKeyToken', publicKeyToken],
  ];
  return (
    <div role="group" className="fc-block fc-assembly" aria-label="Assembly">
      <dl className="fc-inline-pairs">
        {parts.map(([caption, value]) => (
          <div key={caption}>
            <dt>{caption}</dt>
            <dd>
              <SafeText text={value ?? '-'} />
            </dd>
          </div>
        ))}
        {filePath !== null && filePath !== '' && (
          <div>
            <dt>Path</dt>
            <dd>
              <SafeText text={filePath} /> <CopyButton label="Copy path" text={() => filePath} />
            </dd>
          </div>
        )}
      </dl>
    </div>
  );
}
