/** datetime.strftime() in the C locale. */
import { UnsupportedConstruct } from './errors.js';

const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
const MONTHS = [
  'January',
  'February',
  'March',
  'April',
  'May',
  'June',
  'July',
  'August',
  'September',
  'October',
  'November',
  'December',
];

const two = (value: number): string => String(value).padStart(2, '0');
const spaced = (value: number): string => String(value).padStart(2, ' ');
const hour12 = (date: Date): number => date.getHours() % 12 || 12;

/** 0-based. */
function dayOfYear(date: Date): number {
  return (
    (Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) - Date.UTC(date.getFullYear(), 0, 1)) /
    86_400_000
  );
}

/** Weeks that begin on `firstDay` (0 Sunday); the days before the first one are in week 0. */
const week = (date: Date, firstDay: number): number =>
  Math.floor((dayOfYear(date) + 7 - ((date.getDay() + 7 - firstDay) % 7)) / 7);

function isoWeek(date: Date): { year: number; week: number } {
  const thursday = new Date(date.getFullYear(), date.getMonth(), date.getDate() + 4 - (date.getDay() || 7));
  return { year: thursday.getFullYear(), week: Math.floor(dayOfYear(thursday) / 7) + 1 };
}

const DIRECTIVES: Readonly<Record<string, (date: Date) => string>> = {
  a: date => DAYS[date.getDay()]!.slice(0, 3),
  A: date => DAYS[date.getDay()]!,
  b: date => MONTHS[date.getMonth()]!.slice(0, 3),
  B: date => MONTHS[date.getMonth()]!,
  c: date => formatDate(date, '%a %b %e %H:%M:%S %Y'),
  C: date => two(Math.floor(date.getFullYear() / 100)),
  d: date => two(date.getDate()),
  D: date => formatDate(date, '%m/%d/%y'),
  e: date => spaced(date.getDate()),
  f: date => `${String(date.getMilliseconds()).padStart(3, '0')}000`,
  F: date => formatDate(date, '%Y-%m-%d'),
  g: date => two(isoWeek(date).year % 100),
  G: date => String(isoWeek(date).year),
  h: date => MONTHS[date.getMonth()]!.slice(0, 3),
  H: date => two(date.getHours()),
  I: date => two(hour12(date)),
  j: date => String(dayOfYear(date) + 1).padStart(3, '0'),
  k: date => spaced(date.getHours()),
  l: date => spaced(hour12(date)),
  m: date => two(date.getMonth() + 1),
  M: date => two(date.getMinutes()),
  n: () => '\n',
  p: date => (date.getHours() < 12 ? 'AM' : 'PM'),
  P: date => (date.getHours() < 12 ? 'am' : 'pm'),
  r: date => formatDate(date, '%I:%M:%S %p'),
  R: date => formatDate(date, '%H:%M'),
  S: date => two(date.getSeconds()),
  t: () => '\t',
  T: date => formatDate(date, '%H:%M:%S'),
  u: date => String(date.getDay() || 7),
  U: date => two(week(date, 0)),
  V: date => two(isoWeek(date).week),
  w: date => String(date.getDay()),
  W: date => two(week(date, 1)),
  x: date => formatDate(date, '%m/%d/%y'),
  X: date => formatDate(date, '%H:%M:%S'),
  y: date => two(date.getFullYear() % 100),
  Y: date => String(date.getFullYear()),
  // A datetime without a time zone has nothing to say here.
  z: () => '',
  Z: () => '',
  '%': () => '%',
};

/** The flag - leaves the padding out. @throws UnsupportedConstruct for directives and flags that are not in the list */
export function formatDate(date: Date, format: string): string {
  return format.replace(/%(-?)([\s\S]|$)/gu, (whole, flag, letter) => {
    const directive = DIRECTIVES[letter];
    if (directive === undefined) throw new UnsupportedConstruct(`the date format ${whole}`);
    const text = directive(date);
    return flag === '' ? text : text.replace(/^[0 ]+(?=.)/, '');
  });
}
