import { screen } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { expect, test } from 'vitest';

import { frame, renderContext } from './testing';

function renderAssembly(displayName: string | null, absPath: string | null = null) {
  renderContext({ frame: frame({ package: displayName, absPath }), hasAssembly: true });
}

function parts(): Record<string, string> {
  const terms = [...document.querySelectorAll('.fc-assembly dt')];
  return Object.fromEntries(
    terms.map((term) => [term.textContent, term.nextElementSibling?.textContent.trim() ?? '']),
  );
}

test('an assembly is shown by name, version, culture and public key token', () => {
  renderAssembly('Billing.Core, Version=3.1.0.0, Culture=de-DE, PublicKeyToken=b03f5f7f11d50a3a');
  expect(parts()).toEqual({
    Assembly: 'Billing.Core',
    Version: '3.1.0.0',
    Culture: 'de-DE',
    PublicKeyToken: 'b03f5f7f11d50a3a',
  });
});

test.each([['Billing'], ['Billing, Culture=neutral, PublicKeyToken=null'], ['Billing, Version=']])(
  'missing parts of %s are dashes',
  (displayName) => {
    renderAssembly(displayName);
    expect(parts()).toEqual({
      Assembly: 'Billing',
      Version: '-',
      Culture: '-',
      PublicKeyToken: '-',
    });
  },
);

test('an assembly without a name is all dashes', () => {
  renderAssembly(null);
  expect(new Set(Object.values(parts()))).toEqual(new Set(['-']));
});

test("the assembly's path can be copied", async () => {
  const user = userEvent.setup();
  renderAssembly('Billing', '/src/Billing/InvoiceService.cs');
  expect(parts().Path).toContain('/src/Billing/InvoiceService.cs');
  await user.click(screen.getByRole('button', { name: 'Copy path' }));
  expect(await navigator.clipboard.readText()).toBe('/src/Billing/InvoiceService.cs');
});

test('without a path, there is no copy button', () => {
  renderAssembly('Billing');
  expect(screen.queryByRole('button', { name: 'Copy path' })).toBeNull();
});
