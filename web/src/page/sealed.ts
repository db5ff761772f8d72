import type { ImprintDraftElement } from "../elements/imprint-draft.js";
import type { ImprintTeacherElement } from "../elements/imprint-teacher.js";
import type { ImprintVoicesElement } from "../elements/imprint-voices.js";
import { vault } from "../vault.js";
import type { Shelf } from "./shelf.js";

/** What of the page shows or keeps something that a passphrase seals. */
type Rooms = {
  draft: ImprintDraftElement;
  shelf: Shelf;
  teacher: ImprintTeacherElement;
  voices: ImprintVoicesElement;
};

/** Puts everything away before what is kept is locked, and takes it out again when it is unlocked. */
export async function followVault({ draft, shelf, teacher, voices }: Rooms): Promise<void> {
  vault.join({
    turn: () => shelf.unlock(),
    beforeLock: async () => {
      draft.stop();
      await teacher.pause();
      await shelf.lock();
      if (voices.used) await voices.use(undefined);
    },
  });
  // What was listed while there was a key is no longer to be seen without.
  vault.addEventListener("change", () => {
    void voices.refresh();
    shelf.onNews({ type: "saved" });
  });
  // What a kill left half done goes on; what is locked waits for its passphrase.
  const { state, settled } = await vault.status();
  if (!settled && state !== "locked") await vault.settle();
}
