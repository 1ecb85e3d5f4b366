"""The words that tell what a number is: a telephone's, a card's, or one of the many that are neither."""

from __future__ import annotations

from .words import words

__all__ = ["CARD", "NO_CARD", "NO_PHONE", "PHONE", "SERIAL"]

PHONE = words(
    "call calls called phone phones tel telephone mobile mob cell fax whatsapp sms ring reach dial contact "
    "hotline ph mobil fon rufnummer appel appeler appelez portable joindre movil telefono llamar llame celular "
    "fono ligue ligar telemovel telefone cellulare chiamare chiama numero_di zadzwon zadzwonic tel_kom kom "
    "komorka fijo tfno tlf tlfn tfn fone nr_tel viber telegram signal text txt callback voicemail landline "
    "facsimile gsm zap direct_line numero_es numero_est numero_e numer_to nummer_ist pod_numerem pod_nr",
    "phone t: p: f: m: w: h: telef tél telephon mobil cellul handy rufnummer rückruf anruf anrufen rufen "
    "erreichbar durchwahl festnetz téléph rappel llam marcar chiam zadzwo dzwon komork komórk celul whats "
    "call_ contact_n number_is reach_ erreichen richiam oddzwo kontakt 電話番号 携帯番号 電話 携帯 連絡先 "
    "फोन मोबाइल नंबर ligar ligue contato contat",
)
NO_PHONE = words(
    "order orders invoice ref reference ticket tracking track serial sn sku ean isbn upc gtin part item items "
    "model case rma account acct customer policy contract vat tax id imei iccid sim iban ssn itin nhs nino "
    "card version v epoch ts timestamp bestellung auftrag rechnung kundennummer commande facture colis pedido "
    "factura ordine fattura zamowienie faktura passport po lot batch meter zip plz postcode steuer siret siren "
    "nip pesel regon kvk abn lat lon lng build amount total price qty quantity size bytes offset length request "
    "event msg session vorgang aktenzeichen az dossier client klient klienta cliente cnpj cpf nif dni cif nie uid "
    "partita_iva p.iva codice_fiscale",
    "order_n order_id tracking sendung bestell auftrag rechnung artikel seriennummer suivi envio spedizione "
    "przesyłk zamowien member account_n kontonummer konto customer_n booking reservation buchung referenc referenz "
    "vorgangsnummer vertrag contrat contract policen polic poliz polis apolice umow kundennummer voucher coupon "
    "gutschein zählerstand zählernummer steuernummer product_ produkt handyvertrag telefonvertrag "
    "telefonrechnung mobilfunk phone_bill phone_contract 番号",
)

CARD = words(
    "card card_no card_nr card_num card_number cc_no pan_no cc pan visa mastercard amex maestro discover jcb "
    "diners unionpay karte carte tarjeta carta karta kartę cartao paid payment pay charged charge bezahlt paye "
    "payé pagado pagato pago zapłacono zaplacono payer pagar pagare zahle zahlen expiry expires exp cvv cvc cvv2",
    "card credit_card debit_card kreditkart kartennummer carte_bancaire carta_di karty cartao zahlkart "
    "bankkart master_card american_express bezahl カード番号 カード 卡 कार्ड",
)
NO_CARD = words(
    "order orders imei iccid sim tracking track invoice ref reference ticket serial sn upc ean isbn gtin "
    "barcode awb barcodes shipment parcel package case rma sku meid udid account acct iban bestellung auftrag "
    "rechnung commande facture pedido factura ordine fattura zamowienie faktura timestamp epoch ts ms "
    "transaction txn po lot batch meter imeisv serie seriale seryjny seryjne s/n waybill ups dhl usps fedex dpd gls "
    "hermes contract policy booking claim quote quotation receipt quittung beleg recibo scontrino paragon request "
    "event msg message trace session offset size bytes length checksum id ids uid uuid guid dossier aktenzeichen "
    "vorgang az barras barres barre kreskowy strichcode jan",
    "order_n order_id tracking sendung bestell auftrags rechnungs colis suivi envio spedizione przesyłk "
    "zamowien kundennummer customer_n member artikel seriennummer device seguimiento rastre śledzen tracciament "
    "vertrag contrat polic poliz polis apolice umow reserv prenotaz rezerwac buchung voucher coupon gutschein "
    "lieferschein vorgangsnummer referenc referenz shipment waybill parcel consignment package paket paczk pacco "
    "paquete encomenda guia lettera_di asset_ request_id event_id msg_id message_id trace_id session_id 番号",
)
SERIAL = words(
    "imei imeisv iccid sim tracking track serial serie seriale seryjny seryjne s/n sn upc ean isbn gtin barcode awb "
    "waybill shipment parcel udid meid epoch licence license",
    "tracking sendung colis suivi envio spedizione przesyłk seriennummer device seguimiento rastre śledzen tracciament",
)
"""Of those, what numbers devices and parcels rather than orders, which may be grouped like cards too."""
