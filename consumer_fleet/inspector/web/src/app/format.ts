/** `14:03:27.120`, local time. */
export function formatTime(timestampS: number): string {
  const date = new Date(timestampS * 1000);
  if (Number.isNaN(date.getTime())) return String(timestampS);
  const parts = [date.getHours(), date.getMinutes(), date.getSeconds()].map(twoDigits);
  return `${parts.join(':')}.${String(date.getMilliseconds()).padStart(3, '0')}`;
}

/** `2026-02-11 14:03:27.120`, local time. */
export function formatMoment(timestampS: number): string {
  const date = new Date(timestampS * 1000);
  if (Number.isNaN(date.getTime())) return String(timestampS);
  return `${date.getFullYear()}-${monthAndDay(date)} ${formatTime(timestampS)}`;
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
