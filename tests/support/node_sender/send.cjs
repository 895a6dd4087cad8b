// Sends an item of each type that the Node SDK has to the DSN in the first argument.
// With `static` as the second argument, only a transaction: by default, the SDK sends spans instead.
'use strict';

const Sentry = require('@sentry/node');

const [dsn, traceLifecycle] = process.argv.slice(2);

function pay() {
  try {
    throw new TypeError('the bank is away');
  } catch (cause) {
    throw new Error('the payment failed', { cause });
  }
}

function sendSpans() {
  return Sentry.startSpan({ name: 'POST /pay', op: 'http.server' }, () => {
    Sentry.startSpan({ name: 'SELECT carts', op: 'db' }, () => {});
  });
}

function sendErrors() {
  Sentry.withScope((scope) => {
    scope.setUser({ id: 'customer-4711' });
    scope.addAttachment({ filename: 'rates.log', data: 'line 1\nline 2\n', contentType: 'text/plain' });
    try {
      pay();
    } catch (error) {
      Sentry.captureException(error);
    }
  });
  const mirrors = [new RangeError('first mirror'), new SyntaxError('second mirror')];
  Sentry.captureException(new AggregateError(mirrors, 'no mirror answers'));
}

async function main() {
  Sentry.init({
    dsn,
    traceLifecycle: traceLifecycle ?? 'stream',
    release: 'shop@1',
    tracesSampleRate: 1,
    enableLogs: true,
    beforeSend: (event) => (event.message === 'dropped' ? null : event),
  });
  if (traceLifecycle === 'static') {
    sendSpans();
  } else {
    Sentry.startSpan({ name: 'POST /checkout', op: 'http.server' }, () => {
      sendSpans();
      sendErrors();
      Sentry.logger.warn(Sentry.logger.fmt`low stock of ${'teapot'}`, { shop: 'Basel' });
      Sentry.metrics.count('orders.paid', 3, { unit: 'order', attributes: { shop: 'Bern' } });
    });
    Sentry.captureCheckIn({ monitorSlug: 'nightly-rates', status: 'ok', duration: 12.5 });
    Sentry.captureFeedback({ message: 'The cart is empty', email: 'jane@example.com' });
    Sentry.startSession();
    Sentry.captureSession(true);
    Sentry.captureMessage('dropped');
  }
  // A client report is sent by flush() alone.
  await Sentry.flush(5_000);
  await Sentry.close(5_000);
}

void main();
