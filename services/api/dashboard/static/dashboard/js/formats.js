// How moments, lengths of time and money are written. The server's pages write them alike (templatetags/dashboard.py).

const UNITS = [["year", 31536000], ["month", 2592000], ["week", 604800], ["day", 86400], ["hour", 3600], ["minute", 60]];

export function relativeTo(moment, now = Date.now()) {
  const seconds = Math.round((now - moment) / 1000);
  const distance = Math.abs(seconds);
  if (distance < 60) return seconds >= 0 ? "just now" : "within a minute";
  const [unit, size] = UNITS.find(([, length]) => distance >= length);
  const count = Math.floor(distance / size);
  const words = `${count}\u00a0${unit}${count === 1 ? "" : "s"}`;
  return seconds > 0 ? `${words} ago` : `in ${words}`;
}

export function milliseconds(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "";
  if (value < 1000) return `${Math.round(value)} ms`;
  const seconds = value / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function dollars(microusd) {
  if (!microusd) return "";
  const amount = microusd / 1e6;
  return amount >= 1 ? `$${amount.toFixed(2)}` : `$${amount.toFixed(4)}`;
}
