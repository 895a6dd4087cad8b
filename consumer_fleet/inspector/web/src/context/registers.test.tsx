import { render, screen } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { expect, test, vi } from 'vitest';

import type { JsonValue } from '../json';
import type { RegisterMap } from '../model/event';
import { formatRegister } from './registerValue';
import { sortRegisters } from './registerOrder';
import { contextElement, EVENT, renderContext } from './testing';

function renderRegisters(registers: RegisterMap, deviceArch = 'x86_64', registersMeta?: JsonValue) {
  renderContext({
    event: { ...EVENT, deviceArch },
    registers,
    registersMeta,
    hasContextRegisters: true,
    isExpanded: true,
  });
}

test('registers are clipped at 120 px until expanded', async () => {
  vi.spyOn(HTMLElement.prototype, 'scrollHeight', 'get').mockReturnValue(300);
  renderRegisters({ rax: '0x1' });
  const box = document.querySelector<HTMLElement>('.fc-clipped-content');
  expect(box?.style.maxHeight).toBe('120px');
  await userEvent.click(screen.getByRole('button', { name: 'Show more registers' }));
  expect(box?.style.maxHeight).toBe('');
});

test('registers without a value are skipped', () => {
  renderRegisters({ rax: '0x1', rdx: null });
  expect(screen.getAllByRole('listitem')).toHaveLength(1);
  expect(screen.queryByText('rdx')).toBeNull();
});

test('registers are shown in the order of the CPU', () => {
  renderRegisters({ rip: '0x1', rax: '0x2', r10: '0x3', r9: '0x4' });
  const names = [...document.querySelectorAll('.fc-register-name')].map((name) => name.textContent);
  expect(names).toEqual(['rax', 'r9', 'r10', 'rip']);
});

test.each([
  ['x86_64', 'rip custom rax rdx', 'custom rax rdx rip'],
  ['x86', 'eip eax efl ecx zz', 'zz eax ecx eip efl'],
  ['arm', 'pc r11 r0 sp', 'r0 r11 sp pc'],
  ['armv7s', 'cpsr fp r1', 'r1 fp cpsr'],
  ['arm64', 'pc lr x2 x10 fp', 'x2 x10 fp lr pc'],
  ['arm64e', 'sp x0', 'x0 sp'],
  ['mips', 'ra zero sp a0', 'zero a0 sp ra'],
  ['ppc64', 'srr0 r3 f1 r31', 'r3 r31 f1 srr0'],
  ['x86_64', '$rip $rax', '$rax $rip'],
  ['riscv', 'b c a', 'b c a'],
])('on %s, %s are sorted into %s', (arch, given, expected) => {
  const registers = Object.fromEntries(given.split(' ').map((name) => [name, '0x0']));
  const names = sortRegisters(registers, arch).map(([name]) => name);
  expect(names.join(' ')).toBe(expected);
});

test('a click toggles between hexadecimal and decimal', async () => {
  renderRegisters({ rax: '0xff' });
  const value = screen.getByRole('button', { name: '0x00000000000000ff' });
  await userEvent.click(value);
  expect(value.textContent).toBe('255');
  await userEvent.click(value);
  expect(value.textContent).toBe('0x00000000000000ff');
});

test('the keyboard toggles a register too', async () => {
  renderRegisters({ rax: '0xff' });
  const user = userEvent.setup();
  await user.tab();
  await user.keyboard('{Enter}');
  screen.getByRole('button', { name: '255' });
});

test.each([
  ['0xffffffffffffffff', '18446744073709551615', '0xffffffffffffffff'],
  ['0x0020000000000001', '9007199254740993', '0x0020000000000001'],
  ['7fffffffffffffff', '9223372036854775807', '0x7fffffffffffffff'],
  [9223372036854775809n, '9223372036854775809', '0x8000000000000001'],
  [16, '16', '0x0000000000000010'],
  [
    '0xffffffffffffffffffffffffffffffff',
    '340282366920938463463374607431768211455',
    '0xffffffffffffffffffffffffffffffff',
  ],
])('%s is exact in all bits', (value, decimal, hexadecimal) => {
  expect(formatRegister(value, 'decimal')).toBe(decimal);
  expect(formatRegister(value, 'hexadecimal')).toBe(hexadecimal);
});

test.each(['n/a', '', '0x', '12zz', '0x1 0x2'])('unparsable %j is shown raw', (value) => {
  expect(formatRegister(value, 'hexadecimal')).toBe(value);
  expect(formatRegister(value, 'decimal')).toBe(value);
});

test('clicks inside the registers do not fold the frame', async () => {
  const fold = vi.fn();
  render(
    <div onClick={fold}>
      {contextElement({ registers: { rax: '0xff' }, hasContextRegisters: true })}
    </div>,
  );
  await userEvent.click(screen.getByRole('button', { name: /0x/ }));
  screen.getByRole('button', { name: '255' });
  expect(fold).not.toHaveBeenCalled();
});

test('a redacted register is shown with its rule', () => {
  renderRegisters({ rax: '' }, 'x86_64', { rax: { '': { rem: [['@anything:remove', 'x']] } } });
  const note = screen.getByRole('note');
  const id = note.getAttribute('aria-describedby') ?? '';
  expect(document.getElementById(id)?.textContent).toContain('“@anything:remove”');
});

test('any number of registers is shown by the hundred', async () => {
  renderRegisters(Object.fromEntries(Array.from({ length: 20_000 }, (_, n) => [`r${n}`, n])));
  expect(screen.getAllByRole('listitem')).toHaveLength(100);
  await userEvent.click(screen.getByRole('button', { name: 'Show 100 more of 20,000 registers' }));
  expect(screen.getAllByRole('listitem')).toHaveLength(200);
});

test('text longer than any register is cut', () => {
  renderRegisters({ rax: 'x'.repeat(100_000) });
  expect(screen.getByRole('button').textContent).toHaveLength(1_000);
});
