/** `14:03:27.120`, local time. */
export function formatTime(timestampS: number): string {
  const date = new Date(timestampS * 1000);
  if (Number.isNaN(date.getTime())) return String(timestampS);
  const parts = [date.getHours(), date.getMinutes(), date.getSeconds()].map(twoDigits);
  return `${parts.join(':')}.${String(date.getMilliseconds()).padStart(3, '0')}`;
}

/** `2026-02-11 14:03:27.120 +01:00`, local time. */
export function formatMoment(timestampS: number): string {
  const date = new Date(timestampS * 1000);
  if (Number.isNaN(date.getTime())) return String(timestampS);
  return `${date.getFullYear()}-${monthAndDay(date)} ${formatTime(timestampS)} ${zoneOf(date)}`;
}

function zoneOf(date: Date): string {
  const minutes = -date.getTimezoneOffset();
  if (minutes === 0) return 'UTC';
  const size = Math.abs(minutes);
  const sign = minutes < 0 ? '-' : '+';
  return `${sign}${twoDigits(Math.floor(size / 60))}:${twoDigits(size % 60)}`;
}

const UNITS: [seconds: number, name: string][] = [
  [86_400, 'd'],
  [3_600, 'h'],
  [60, 'min'],
  [1, 's'],
];

/** `3 min ago`, or `in 2 h`; "" for a time that is not valid. */
export function formatAgo(timestampS: number, nowS = Date.now() / 1000): string {
  const age = nowS - timestampS;
  if (!Number.isFinite(age)) return '';
  const [size, name] = UNITS.find(([seconds]) => Math.abs(age) >= seconds) ?? [1, 's'];
  const count = Math.floor(Math.abs(age) / size).toLocaleString('en');
  return age < 0 && count !== '0' ? `in ${count} ${name}` : `${count} ${name} ago`;
}

/** Short, for lists: only the time if it is today, else `02-11 14:03`. */
export function formatBriefly(timestampS: number, now = new Date()): string {
  const date = new Date(timestampS * 1000);
  const time = formatTime(timestampS);
  if (date.toDateString() === now.toDateString()) return time.slice(0, 8);
  return Number.isNaN(date.getTime()) ? time : `${monthAndDay(date)} ${time.slice(0, 5)}`;
}

function monthAndDay(date: Date): string {
  return `${twoDigits(date.getMonth() + 1)}-${twoDigits(date.getDate())}`;
}

export function isoTime(timestampS: number): string | undefined {
  const date = new Date(timestampS * 1000);
  return Number.isNaN(date.getTime()) ? undefined : date.toISOString();
}

function twoDigits(number: number): string {
  return String(number).padStart(2, '0');
}

export function formatBytes(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  const units = ['KiB', 'MiB', 'GiB'];
  let value = bytes / 1024;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value.toFixed(value < 10 ? 1 : 0)} ${units[unit] ?? ''}`;
}

export function formatCount(count: number, singular: string, plural = `${singular}s`): string {
  return `${count.toLocaleString('en')} ${count === 1 ? singular : plural}`;
}

export function formatDuration(seconds: number): string {
  if (seconds < 1) return `${(seconds * 1000).toFixed(seconds < 0.01 ? 2 : 0)} ms`;
  return `${seconds.toFixed(2)} s`;
}

/** `+12 ms`, from some start. */
export function formatOffset(seconds: number): string {
  return `${seconds < 0 ? '−' : '+'}${formatDuration(Math.abs(seconds))}`;
}
