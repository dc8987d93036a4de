/**
 * Times of objects' metadata: RFC 3339, as Go's time.Parse reads them (metav1.Time). JavaScript's own
 * reader takes more: dates without a time, a 30th of February, an hour 24. An object with such a time
 * could not be read by Calico.
 */

const FORM = /^\d{4}-\d\d-(\d\d)T([01]\d|2[0-3]):\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;

export function isTime(text: string): boolean {
  const day = FORM.exec(text)?.[1];
  if (day === undefined || Number.isNaN(Date.parse(text))) return false;
  // A day that the month has not is read as one of the next.
  return new Date(`${text.slice(0, 10)}T00:00:00Z`).getUTCDate() === Number(day);
}
