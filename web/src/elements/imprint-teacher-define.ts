import { ImprintTeacherElement } from "./imprint-teacher.js";

customElements.define("imprint-teacher", ImprintTeacherElement);
