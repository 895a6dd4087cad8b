/** On a narrow page, which shows either the list or an entry. */
export function BackButton({ onBack }: { onBack: () => void }) {
  return (
    <button type="button" className="back" onClick={onBack}>
      ← Events
    </button>
  );
}
