export interface ServerSentEvent {
  id: string | null;
  event: string;
  data: string;
}

/** Reads a `text/event-stream` from chunks that may end anywhere. */
export class SseParser {
  #rest = '';
  #id: string | null = null;
  #event = '';
  #data: string[] = [];

  push(chunk: string): ServerSentEvent[] {
    const lines = (this.#rest + chunk).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop() ?? '';
    return lines.flatMap((line) => this.#line(line));
  }

  #line(line: string): ServerSentEvent[] {
    if (line === '') return this.#dispatch();
    const [, field = '', value = ''] = /^([^:]*)(?::[ ]?(.*))?$/s.exec(line) ?? [];
    if (field === 'data') this.#data.push(value);
    if (field === 'event') this.#event = value;
    if (field === 'id') this.#id = value;
    return [];
  }

  #dispatch(): ServerSentEvent[] {
    const event = { id: this.#id, event: this.#event || 'message', data: this.#data.join('\n') };
    const isEmpty = this.#data.length === 0;
    this.#event = '';
    this.#data = [];
    return isEmpty ? [] : [event];
  }
}
