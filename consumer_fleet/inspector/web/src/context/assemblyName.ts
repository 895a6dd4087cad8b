export interface AssemblyName {
  name: string | null;
  version: string | null;
  culture: string | null;
  publicKeyToken: string | null;
}

/** The parts of a .NET assembly's display name, which is the `package` of its frames.
 *
 * `neutral` means no culture, `null` no token.
 */
export function parseAssembly(displayName: string | null): AssemblyName {
  const [name = '', ...attributes] = (displayName ?? '').split(',');
  const values = new Map(
    attributes.map((attribute) => {
      const [key = '', value = ''] = attribute.trim().split('=');
      return [key, value];
    }),
  );
  const attribute = (key: string, absent: string) => {
    const value = values.get(key) ?? absent;
    return value === absent || value === '' ? null : value;
  };
  return {
    name: name.trim() === '' ? null : name.trim(),
    version: attribute('Version', ''),
    culture: attribute('Culture', 'neutral'),
    publicKeyToken: attribute('PublicKeyToken', 'null'),
  };
}
