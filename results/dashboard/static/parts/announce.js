// One polite live region for the whole page: what changed, said once.
let timer = null;

export function announce(text) {
  const region = document.getElementById('announcer');
  if (!region) return;
  clearTimeout(timer);
  timer = setTimeout(() => { region.textContent = text; }, 120);
}
