import type { JsonValue } from '../json.ts';

// Registers are sorted as in Sentry, by their numbers in the architecture's ABI. A name may have
// aliases, and numbers may be missing.

function numbered(prefix: string, first: number, last: number): string[] {
  return Array.from({ length: last - first + 1 }, (_, index) => `${prefix}${first + index}`);
}

const X86 = [
  'eax ecx edx ebx esp ebp esi edi eip eflags=efl unused1'.split(' '),
  numbered('st', 0, 7),
  'unused2 unused3'.split(' '),
  numbered('xmm', 0, 7),
  numbered('mm', 0, 7),
  'fcw fsw mxcsr es cs ss ds fs gs unused4 unused5 tr ldtr'.split(' '),
].flat();

const X86_64 = [
  'rax rdx rcx rbx rsi rdi rbp rsp'.split(' '),
  numbered('r', 8, 15),
  ['rip'],
  numbered('xmm', 0, 15),
  numbered('st', 0, 7),
  numbered('mm', 0, 7),
  'rflags es cs ss ds fs gs unused1 unused2 fs.base gs.base'.split(' '),
  'unused3 unused4 tr ldtr mxcsr fcw fsw'.split(' '),
].flat();

const ARM = [
  numbered('r', 0, 10),
  'r11=fp r12 sp lr pc fps cpsr'.split(' '),
  numbered('s', 0, 31),
  numbered('f', 0, 7),
].flat();

const ARM64 = [
  numbered('x', 0, 15),
  'x16=ip0 x17=ip1'.split(' '),
  numbered('x', 18, 28),
  'x29=fp x30=lr sp pc cpsr'.split(' '),
  numbered('v', 0, 31),
].flat();

const MIPS = [
  'zero at v0 v1 a0 a1 a2 a3'.split(' '),
  numbered('t', 0, 7),
  numbered('s', 0, 7),
  't8 t9 k0 k1 gp sp fp ra lo hi pc'.split(' '),
  numbered('f', 0, 31),
  'fcsr fir'.split(' '),
].flat();

const PPC = [
  numbered('r', 0, 31),
  numbered('f', 0, 31),
  'cr fpsrc msr'.split(' '),
  numbered('sr', 0, 15),
  'srr0 srr1'.split(' '),
].flat();

// `x86_64` before `x86`, `arm64` before `arm`: the first matching prefix is used.
const ARCHITECTURES: [prefix: string, order: Map<string, number>][] = [
  ['x86_64', indexed(X86_64)],
  ['amd64', indexed(X86_64)],
  ['x86', indexed(X86)],
  ['i386', indexed(X86)],
  ['i686', indexed(X86)],
  ['arm64', indexed(ARM64)],
  ['aarch64', indexed(ARM64)],
  ['arm', indexed(ARM)],
  ['mips', indexed(MIPS)],
  ['ppc', indexed(PPC)],
];

function indexed(names: string[]): Map<string, number> {
  return new Map(
    names.flatMap((aliases, index) => aliases.split('=').map((name) => [name, index] as const)),
  );
}

function orderOf(arch: string | null): Map<string, number> {
  return (
    ARCHITECTURES.find(([prefix]) => arch?.startsWith(prefix))?.[1] ?? new Map<string, number>()
  );
}

/** Registers in their architecture's order; unknown names come first, in the given order. */
export function sortRegisters(
  registers: Record<string, JsonValue>,
  arch: string | null,
): [name: string, value: JsonValue][] {
  const order = orderOf(arch);
  const rank = (name: string) => order.get(name.replace(/^\$/, '')) ?? -1;
  return Object.entries(registers).sort(([a], [b]) => rank(a) - rank(b));
}
