package mailparse

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The corpus: a body, and beside it the reply in it. Without a reply beside it
// nothing must be taken off.
func TestRepliesAreToldFromWhatTheyQuote(t *testing.T) {
	t.Parallel()
	bodies, err := filepath.Glob("testdata/replies/*.txt")
	require.NoError(t, err)
	require.Greater(t, len(bodies), 30)
	for _, f := range bodies {
		body, err := os.ReadFile(f)
		require.NoError(t, err)
		want, err := os.ReadFile(strings.TrimSuffix(f, ".txt") + ".reply")
		reply, ok := StripQuotation(string(body))
		if os.IsNotExist(err) {
			require.False(t, ok, "%s: %q", f, reply)
			continue
		}
		require.NoError(t, err)
		require.True(t, ok, f)
		require.Equal(t, strings.TrimSuffix(string(want), "\n"), reply, f)
	}
}

// The search ends soon, whatever the text.
func TestTheSearchForAQuotationIsBounded(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		strings.Repeat("On\n", 1<<18), strings.Repeat("From: a\n", 4000), strings.Repeat("> \nx\n", 2000),
		"On " + strings.Repeat("wrote: ", 1<<18), strings.Repeat("On a b c d wrote:\n> x\ny\n", 1500),
	} {
		_, _ = StripQuotation(body)
	}
	_, ok := StripQuotation(strings.Repeat("x\n", maxReplyLines) + "> quoted")
	require.False(t, ok)
}

// What programs write above a quotation, in one line or folded.
var attributions = []string{
	"On Mon, 1 Jan 2024 Bob <bob@x.example> wrote:", "On Mon, Jan 1, 2024 at 10:00 AM Bob <bob@x.example> wrote:", "On 1/1/24 10:00 AM, Bob wrote:",
	"On Mon, Jan 1, 2024 at 10:00 AM Bob Elizabeth Smith-Featherstone <\nbob@x.example> wrote:", "On Mon, Jan 1, 2024 at 10:00 AM Bob Smith\n<bob@x.example> wrote:",
	"On Jan 1, 2024, at 10:00 AM, Bob Smith via\nA List <list@x.example>\nwrote:", "Bob <bob@x.example> wrote on 01.01.2024 10:00:", "Bob Smith wrote:", "Bob <bob@x.example> writes:",
	"Am 01.01.24 um 10:00 schrieb Bob Müller:", "Am Mo., 1. Jan. 2024 um 10:00 Uhr schrieb Bob <bob@x.example>:", "Am Mo., 1. Jan. 2024 um 10:00 Uhr schrieb Bob Müller-Lüdenscheidt <\nbob@x.example>:",
	"Bob <bob@x.example> schrieb am Mo., 1. Jan. 2024, 10:00:", "Le lun. 1 janv. 2024 à 10:00, Bob <bob@x.example> a écrit :", "Le 01/01/2024 à 10:00, Bob a écrit :",
	"El lun, 1 ene 2024 a las 10:00, Bob (<bob@x.example>) escribió:", "El 1/1/24 a las 10:00, Bob escribió:", "Em seg., 1 de jan. de 2024 às 10:00, Bob <bob@x.example> escreveu:",
	"Il giorno lun 1 gen 2024 alle ore 10:00 Bob <bob@x.example> ha scritto:", "Il 01/01/24 10:00, Bob ha scritto:", "Op ma 1 jan 2024 om 10:00 schreef Bob <bob@x.example>:", "Op 01-01-2024 om 10:00 schreef Bob:",
	"Den mån 1 jan. 2024 kl 10:00 skrev Bob <bob@x.example>:", "Den man. 1. jan. 2024 kl. 10.00 skrev Bob <bob@x.example>:", "man. 1. jan. 2024 kl. 10:00 skrev Bob <bob@x.example>:",
	"ma 1. tammik. 2024 klo 10.00 Bob (bob@x.example) kirjoitti:", "pon., 1 sty 2024 o 10:00 Bob <bob@x.example> napisał(a):", "W dniu 1.01.2024 o 10:00, Bob pisze:",
	"po 1. 1. 2024 v 10:00 odesílatel Bob <bob@x.example> napsal:", "po 1. 1. 2024 o 10:00 Bob <bob@x.example> napísal(a):", "Bob <bob@x.example> ezt írta (időpont: 2024. jan. 1., H, 10:00):",
	"În lun., 1 ian. 2024 la 10:00, Bob <bob@x.example> a scris:", "пн, 1 янв. 2024 г. в 10:00, Боб <bob@x.example>:", "02.04.2024 14:20, Боб написал:", "02.04.2024 14:20, Боб пишет:",
	"Понедельник, 1 января 2024, 10:00 +03:00 от Боб <bob@x.example>:", "пн, 1 янв. 2024 г. в 10:00, Боб Боб <\nbob1@x.example>:", "пн, 1 січ. 2024 р. о 10:00 Боб <bob@x.example> пише:",
	"На пн, 1.01.2024 г. в 10:00 Боб <bob@x.example> написа:", "Στις Δευ 1 Ιαν 2024 στις 10:00 π.μ., ο χρήστης Bob <bob@x.example> έγραψε:", "Bob <bob@x.example>, 1 Oca 2024 Pzt, 10:00 tarihinde şunu yazdı:",
	"Vào Th 2, 1 thg 1, 2024 vào lúc 10:00 Bob <bob@x.example> đã viết:", "Pada tanggal Sen, 1 Jan 2024 pukul 10.00 Bob <bob@x.example> menulis:", "2024年1月1日(月) 10:00 Bob <bob@x.example>:",
	"2024年1月1日(月) 10:00 Bob <bob@x.example>のメール:", "Bob <bob@x.example> 于2024年1月1日周一 10:00写道：", "Bob <bob@x.example> 於 2024年1月1日 週一 上午10:00寫道：", "在 2024年1月1日，10:00，Bob <bob@x.example> 写道：",
	"2024년 1월 1일 (월) 오전 10:00, Bob <bob@x.example>님이 작성:", "في الاثنين، 1 يناير 2024 في 10:00 ص تمت كتابة ما يلي بواسطة Bob <bob@x.example>:", "\u202bבתאריך יום ב׳, 1 בינו׳ 2024 ב-10:00 מאת \u202aBob\u202c\u200f <\u202abob@x.example\u202c\u200f>:\u202c",
	"Dana pon, 1. sij 2024. u 10:00 Bob <bob@x.example> napisao je:", "ทเมื่อ จ. 1 ม.ค. 2024 เวลา 10:00 Bob <bob@x.example> เขียนว่า:", "Bob <bob@x.example> rašė 2024-01-01 10:00:",
}

// The author's words stay, whether or not a blank line stands below them, and whatever is quoted in the quotation.
func TestTheAuthorsWordsAboveAnAttributionStay(t *testing.T) {
	t.Parallel()
	for _, a := range attributions {
		t.Run(a, func(t *testing.T) {
			t.Parallel()
			for _, answer := range []string{"Yes, ship 3 boxes.", "Yes", "Hi Bob,\n\nyes: 5 of them, on 1.1.2024.\nAnn", "Да, согласен.", "On it!", "Ok, at 10:00\nThanks"} {
				for _, gap := range []string{"\n", "\n\n", "\n\n\n"} {
					for _, quoted := range []string{"> How many?\n", "\n> How many?\n>\n> > On Sun, Eve <e@x.example> wrote:\n> >> Boxes?\n", ">How many?\n\n-- \nAnn\n"} {
						body := answer + gap + a + "\n" + quoted
						reply, ok := StripQuotation(body)
						require.True(t, ok, "%q", body)
						require.Equal(t, answer, reply, "%q", body)
						reply, ok = StripQuotation(strings.ReplaceAll(body, "\n", "\r\n"))
						require.True(t, ok)
						require.Equal(t, answer, reply)
						_, ok = StripQuotation(a + "\n" + quoted)
						require.False(t, ok, "there is nothing but the quotation")
						_, ok = StripQuotation(answer + gap + a + "\n" + quoted + "\nand below it\n")
						require.Equal(t, strings.Contains(quoted, "-- "), ok, "the author wrote below it")
					}
				}
			}
		})
	}
}

// Texts with something in them that looks like a quotation.
func TestTheAuthorsOwnListsAndWordsAreNoQuotation(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		"Here is what I need:\n\nFrom: Berlin\nTo: Paris\nDate: 5 May\nSubject: travel\n\nPlease book it. Thanks.\n",
		"From: Berlin\nTo: Paris\nDate: 5 May\n\nPlease book it.\n", "Von: Berlin\nAn: Paris\nDatum: 5. Mai 2024\nBetreff: Reise\n\nBitte buchen.\n",
		"De : Lyon\nÀ : Paris\nDate : 5 mai\nObjet : voyage\n\nMerci.\n", "Note:\nFrom: the start\nTo: the end\nSubject: all\n\nok\n",
		"We need:\n\n- one\n- two\n\nOn Monday he wrote:\nsend it\n", "I like what she wrote:\n\nit is short.\n", "He wrote:\n",
		"Rule:\n> one\nso it is.\n", "---------- \nFrom: Berlin\n", "-- \nAnn\n", "a -> b\n> c\nd\n", "----------------------------\nDate: 5 May\nTo: Paris\n",
		"Original message: see below\nok\n", "The date: 2024\nthe time 10:00:\nok\n", "On 1 Jan 2024 Bob wrote:\nyes, he did.\n", "",
	} {
		reply, ok := StripQuotation(body)
		require.False(t, ok, "%q: %q", body, reply)
	}
}

func TestForwardsAndCopiedHeadersBeginAQuotation(t *testing.T) {
	t.Parallel()
	for _, quotation := range []string{
		"---------- Forwarded message ----------\nFrom: Some One <one@x.example>\nDate: Thu, Jan 28, 2024 at 4:00 PM\nSubject: Order 17\nTo: robot@x.example\n\nPlease process it.\n",
		"---------- Forwarded message ---------\nVon: Some One <one@x.example>\n\nx\n", "---------- Weitergeleitete Nachricht ---------\nVon: x\n", "---------- Message transféré ---------\nx\n",
		"-------- Original Message --------\nSubject: x\n", "-----Original Message-----\nFrom: Ann\n", "-----Ursprüngliche Nachricht-----\nVon: Ann\n", "-------- Исходное сообщение --------\nx\n",
		"Begin forwarded message:\n\nFrom: Ann <a@x.example>\nSubject: x\n", "Anfang der weitergeleiteten Nachricht:\n\nVon: Ann\n", "Début du message réexpédié :\n\nDe: Ann\n",
		"________________________________\nFrom: Ann <a@x.example>\nSent: Monday, January 1, 2024 10:00 AM\nTo: Ben\nSubject: x\n\nold\n",
		"From: Ann <a@x.example>\nSent: Monday, January 1, 2024 10:00 AM\nTo: Ben\nSubject: x\n\nold\n", "From: Ann Smith\nSent: Monday, January 1, 2024 10:00 AM\nTo: Ben\nSubject: x\n\nold\n",
		"From: Ann [mailto:a@x.example]\nSent: yesterday\nTo: Ben\nSubject: x\n\nold\n", "*From:* Ann <a@x.example>\n*Date:* Monday\n*To:* Ben\n\nold\n",
		"Von: Ann <a@x.example>\nGesendet: Montag, 1. Januar 2024 10:00\nAn: Ben\nBetreff: x\n\nalt\n", "De : Ann <a@x.example>\nEnvoyé : lundi 1 janvier 2024 10:00\nÀ : Ben\nObjet : x\n\nx\n",
		"От: Ann <a@x.example>\nОтправлено: 1 января 2024 г. 10:00\nКому: Ben\nТема: x\n\nx\n", "差出人: Ann <a@x.example>\n送信日時: 2024年1月1日 10:00\n宛先: Ben\n件名: x\n\nx\n",
		"发件人: Ann <a@x.example>\n发送时间: 2024年1月1日 10:00\n收件人: Ben\n主题: x\n\nx\n", "Från: Ann <a@x.example>\nSkickat: den 1 januari 2024 10:00\nTill: Ben\nÄmne: x\n\nx\n", "> old\n>> older\n",
	} {
		for _, answer := range []string{"FYI.", "Please see below.\n\nAnn"} {
			for _, gap := range []string{"\n", "\n\n"} {
				reply, ok := StripQuotation(answer + gap + quotation)
				require.True(t, ok, "%q", quotation)
				require.Equal(t, answer, reply, "%q", quotation)
			}
		}
		_, ok := StripQuotation(quotation)
		require.False(t, ok, "%q", quotation)
	}
}
